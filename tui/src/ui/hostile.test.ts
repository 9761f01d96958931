// SPDX-License-Identifier: Apache-2.0
/** Whatever agents say: each line is as wide as the screen, and has nothing in it that a terminal obeys. */
import type { AgentCalls, FleetState } from '@marcher/client/fleet';
import { AgentError } from '@marcher/client/fleet';
import { expect, test } from 'vitest';
import { bare, type Harness, harness, settled } from '../testing/console-harness.js';
import { changed, meshState, nodeKey, serviceName } from '../testing/mesh-state.js';
import { widthOf } from './theme/width.js';
import { VIEW_NAMES } from './views/index.js';

const HOSTILE: readonly string[] = [
  'a\u001b[2J\u001b]0;title\u0007b\r\nc\u009b31m',
  'user\u202egnp.exe\u2066\u200b\ufeff',
  '名前がとても長い日本語のサービスです',
  `z${'\u0301\u0489'.repeat(300)}`,
  '👩‍👩‍👧‍👦🏳️‍🌈🇩🇪',
  'שלום עולם',
  '\ud800\udfff\udc00 lone',
  'x'.repeat(5_000),
  '',
];

function evil(text: string): FleetState {
  const state = meshState({ nodes: 2, services: 2, backends: 1 });
  const conditions = [{ type: text, status: false, reason: text, message: text }];
  const node = state.nodes.get(nodeKey(0));
  const service = state.services.get(serviceName(0));
  const tier = { tier: text, reasons: [text], fasterIf: [text], xdpPackets: 1n, xdpBytes: 1n, bytesReturned: 1n };
  const unmet = [{ type: text, status: false, reason: text, message: text }];
  return {
    ...changed(state, {
      nodes: {
        [nodeKey(0)]: { name: text, status: { ...node?.status, conditions, version: text, region: text } as never },
        [nodeKey(1)]: { name: text, link: { kind: 'refused', sinceMs: 0, reason: text, retryAtMs: 0 } },
      },
      services: {
        [serviceName(0)]: {
          name: text,
          declared: { ...service?.declared, name: text, labels: { [text]: text }, cluster: text } as never,
          tiers: new Map([[nodeKey(0), tier as never]]),
          nodes: new Map([[nodeKey(0), { node: nodeKey(0), generation: 1n, same: false, unmet: unmet as never }]]),
        },
      },
    }),
    mesh: { id: 'ab'.repeat(16), name: text },
  };
}

/** Answers everything with lists of things that are called so. */
function evilAgent(text: string): AgentCalls {
  const time = { seconds: 1_790_000_000n, nanos: 0 };
  const item = {
    ...{
      name: text,
      id: text,
      author: text,
      message: text,
      origin: text,
      createdBy: text,
      names: [text],
      keyType: text,
    },
    ...{ version: 1n, nodes: [{ nodeId: text, name: text, state: 2 }], diffs: [], role: 1, usage: 1, source: 1 },
    ...{ issuer: text, serial: text, fingerprint: text, time, written: time, writtenBy: text },
  };
  const all = [item];
  const answer = async (): Promise<object> => ({
    ...{
      users: all,
      keys: all,
      certificates: all,
      clusters: all,
      revisions: all,
      total: 0n,
      connections: [],
      records: [],
    },
  });
  const logs = async function* (): AsyncGenerator<never> {
    yield* [];
    throw new AgentError('failed', text, [], undefined);
  };
  const service = new Proxy({}, { get: (_target, name) => (name === 'logs' ? logs : answer) });
  return new Proxy({}, { get: () => service }) as AgentCalls;
}

function expectTame(made: Harness, columns: number, what: string): void {
  for (const line of made.controller.lines()) {
    const shown = bare(line);
    expect(widthOf(shown), what).toBe(columns);
    expect(shown, what).not.toMatch(/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u);
  }
}

/** All in one, but for the long one. */
const TOGETHER = HOSTILE.map((text) => text.slice(0, 40)).join('');
const EVERYWHERE = VIEW_NAMES.map(({ name }) => name);

test.each([
  ['all of them, on every page', TOGETHER, EVERYWHERE] as const,
  ...HOSTILE.map((text) => [JSON.stringify(text).slice(0, 40), text, ['nodes', 'services', 'users']] as const),
])('%s', async (_name, text, views) => {
  const columns = 90;
  for (const name of views) {
    const made = harness(evil(text), { columns, rows: 30, entry: evilAgent(text) });
    made.type(`:${name}`);
    made.press('enter');
    await settled();
    made.clock.pass(300);
    expectTame(made, columns, name);
    for (const key of ['enter', 'y', 'x', 't', 'a']) {
      made.press(key);
      await settled();
      expectTame(made, columns, `${key} in ${name}`);
      made.press('esc');
    }
    made.controller.close();
  }
});

test('without Unicode all of it is ASCII', async () => {
  const made = harness(evil(TOGETHER), { columns: 90, rows: 30, env: { LANG: 'C' }, entry: evilAgent(TOGETHER) });
  for (const name of EVERYWHERE) {
    made.type(`:${name}`);
    made.press('enter');
    await settled();
    expect(made.screen().join('')).toMatch(/^[\x20-\x7e]*$/);
    made.press('a');
    expect(made.screen().join('')).toMatch(/^[\x20-\x7e]*$/);
    made.press('esc');
  }
  made.controller.close();
});

test('what is pasted goes into what is typed, as one line, and nowhere else', async () => {
  const made = harness(meshState({ nodes: 2, services: 40, backends: 1 }), { entry: evilAgent('a') });
  let isOver = false;
  void made.controller.done.then(() => {
    isOver = true;
  });
  made.controller.paste(':q\nq\n');
  await settled();
  expect(isOver).toBe(false);
  made.type(':services');
  made.press('enter', '/');
  made.controller.paste('web-\u001b[2J003\nx');
  expect(made.screen().join('\n')).toContain('/web- [2J003 x');
  made.controller.paste('y'.repeat(1_000_000));
  expectTame(made, 100, 'a long paste');
  made.press('esc');
  made.type(':unlock');
  made.press('enter');
  made.type(':users');
  made.press('enter', 'n');
  made.controller.paste('carol\nq');
  expect(made.screen().join('\n')).toMatch(/name +carol q/);
  made.press('ctrl-u');
  made.type('carol');
  made.press('ctrl-s');
  await settled();
  // Into a question it is no answer.
  made.controller.paste('y');
  expect(made.screen().join('\n')).toContain('Create user carol?');
});
