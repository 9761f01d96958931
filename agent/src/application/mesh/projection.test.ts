// SPDX-License-Identifier: Apache-2.0
/** What the mesh makes of the configuration depends on what was written, and not on how it came in. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfiguration } from '@marcher/model';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { InMemoryDataplane } from '../../adapters/outbound/dataplane/in-memory.js';
import { openStore } from '../../adapters/outbound/sqlite/open-store.js';
import { createAgent } from '../../agent.js';
import type { CellWrite, Frame } from '../../domain/replication/contract.js';
import { decodeFrame, encodeFrame, FRAME_LIMITS } from '../../domain/replication/frame.js';
import { Ledger } from '../../domain/replication/ledger.js';
import { MemoryStore } from '../../domain/replication/memory-store.js';
import { packService } from '../service-codec.js';
import { Projection } from './projection.js';
import { writesOf } from './writes.js';

const QUIET = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
const NAMES = ['a', 'b', 'c'];
const PORTS = [8001, 8002, 8003];
const NODES = 3;

interface Step {
  readonly node: number;
  readonly name: string;
  /** undefined: removed. */
  readonly port: number | undefined;
  readonly second: number | undefined;
  readonly proxied: boolean;
  readonly forwarded: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  node: fc.integer({ min: 1, max: NODES }),
  name: fc.constantFrom(...NAMES),
  port: fc.option(fc.constantFrom(...PORTS), { nil: undefined, freq: 8 }),
  second: fc.option(fc.constantFrom(...PORTS), { nil: undefined }),
  // Each is valid, both together are not: packets that are forwarded as they are have no room for a PROXY header.
  proxied: fc.boolean(),
  forwarded: fc.boolean(),
});

/** One forwards the packets of a service as they are, the other has a PROXY header before them. */
const CONTRADICTION: Step[] = [
  { node: 2, name: 'a', port: 8001, second: undefined, proxied: false, forwarded: true },
  { node: 3, name: 'a', port: 8001, second: undefined, proxied: true, forwarded: false },
];

/** The second takes the port of the first, which is older, until that is made anew. */
const YOUNGER: Step[] = [
  { node: 2, name: 'b', port: 8001, second: undefined, proxied: false, forwarded: false },
  { node: 1, name: 'a', port: undefined, second: undefined, proxied: false, forwarded: false },
  { node: 1, name: 'a', port: 8001, second: undefined, proxied: false, forwarded: false },
];

function bodyOf({ name, port, second, proxied, forwarded }: Step): Uint8Array | undefined {
  if (port === undefined || (proxied && forwarded)) return undefined;
  // Packets that are forwarded keep their port.
  const ports = second === undefined || second === port || forwarded ? [port] : [port, second];
  const address = `192.0.2.9:${port}`;
  const service = {
    name,
    listeners: ports.map((one) => ({ protocol: 'tcp', address: '198.51.100.1', port: one })),
    backends: [{ name: 'b1', address, ...(proxied ? { sendProxy: 'v2' } : {}) }],
    ...(forwarded ? { forwarding: { mode: 'ipip' } } : {}),
  };
  const parsed = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services: [service] }));
  const [first] = parsed.configuration?.services ?? [];
  if (first === undefined) throw new Error(JSON.stringify(parsed));
  return packService(first);
}

/** What all have heard of, before they hear nothing of each other any more. */
const BEFORE: readonly Step[] = NAMES.map((name, i) => {
  return { node: 1, name, port: PORTS[i], second: undefined, proxied: false, forwarded: false };
});

/** Each node writes by that and by what it has written itself. */
function framesOf(steps: readonly Step[]): Frame[][] {
  const logs: Frame[][] = Array.from({ length: NODES }, () => []);
  const own: Map<string, Uint8Array>[] = Array.from({ length: NODES }, () => new Map());
  for (const [i, one] of [...BEFORE, ...steps].entries()) {
    const log = logs[one.node - 1] as Frame[];
    const bodies = own[one.node - 1] as Map<string, Uint8Array>;
    const [before, after] = [bodies.get(one.name), bodyOf(one)];
    if (before === undefined && after === undefined) continue;
    const writes: CellWrite[] = writesOf([{ kind: 'Service', name: one.name, before, after }]);
    if (writes.length === 0) continue;
    if (after === undefined) bodies.delete(one.name);
    else for (const known of i < BEFORE.length ? own : [bodies]) known.set(one.name, after);
    const node = BigInt(one.node);
    const frame = encodeFrame(
      {
        origin: { node, incarnation: 1 },
        sequence: log.length + 1,
        stamp: { ms: 1_000 + i, counter: 0, node },
        previous: log.at(-1)?.hash ?? new Uint8Array(0),
        author: '',
        message: '',
        writes,
      },
      hash,
      () => new Uint8Array(1),
      FRAME_LIMITS,
    );
    if ('fault' in frame) throw new Error(frame.fault);
    const decoded = decodeFrame(frame.bytes, hash, FRAME_LIMITS);
    if ('fault' in decoded) throw new Error(decoded.fault);
    log.push(decoded);
  }
  return logs;
}

interface Outcome {
  readonly hash: string;
  readonly running: readonly string[];
  readonly leftOut: readonly string[];
}

/** They come in as the order says whose is next; each batch is followed at once, so only what changed is looked at. */
async function outcomeOf(
  logs: readonly (readonly Frame[])[],
  order: readonly number[],
  batch: number,
): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), 'marcher-projection-'));
  const opened = openStore(dir, 0);
  const dataplane = new InMemoryDataplane();
  const agent = createAgent({
    store: opened.store,
    dataplane,
    identity: { name: 'n', region: '', country: '', geoipPath: '' },
    version: 'test',
    log: QUIET,
    reconcileMs: 3_600_000,
    collectMs: 3_600_000,
  });
  try {
    await agent.start();
    const cells = new MemoryStore();
    const ledger = new Ledger({ store: cells, node: 99n, hash, wallMs: () => 10_000, aheadMaxMs: 5_000 });
    const projection = new Projection(new Map([['', cells]]), opened.store);
    const left = logs.map((log) => [...log]);
    const queue: Frame[] = [];
    for (const node of [...order, ...left.flatMap((log, i) => log.map(() => i))]) {
      const frame = left[node]?.shift();
      if (frame !== undefined) queue.push(frame);
    }
    const revision = { author: 'test', origin: 'mesh', message: '' };
    while (queue.length > 0) {
      const { objects } = ledger.apply(queue.splice(0, batch));
      await agent.config.follow((whole) => {
        const changes = (whole ? undefined : projection.partly(objects)) ?? projection.whole();
        return changes.length === 0 ? undefined : { changes, revision };
      });
    }
    const leftOut = projection.exclusions.map(({ name, reason }) => `${name} ${reason}`).sort();
    return { hash: opened.store.hash(), running: [...dataplane.services.keys()].sort(), leftOut };
  } finally {
    await agent.stop();
    opened.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

test('in whatever order and in whatever batches changes come in, the same configuration runs', async () => {
  const orders = fc.array(fc.integer({ min: 0, max: NODES - 1 }), { maxLength: 20 });
  const batch = fc.integer({ min: 1, max: 5 });
  const seen = { invalid: 0, conflicted: 0, running: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 4, maxLength: 24 }),
      orders,
      orders,
      batch,
      async (steps, one, other, size) => {
        const logs = framesOf(steps);
        const first = await outcomeOf(logs, one, size);
        expect(await outcomeOf(logs, other, 100)).toEqual(first);
        seen.invalid += first.leftOut.filter((text) => text.endsWith('Invalid')).length;
        seen.conflicted += first.leftOut.filter((text) => text.endsWith('Conflicted')).length;
        seen.running += first.running.length;
      },
    ),
    {
      numRuns: 40,
      examples: [
        [CONTRADICTION, [1, 0, 0, 0, 2], [2, 0, 0, 0, 1], 1],
        // Removed and made again within one batch.
        [YOUNGER, [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1], 2],
      ],
    },
  );
  // It is about conflicts: there have to be some.
  expect(seen.invalid).toBeGreaterThan(0);
  expect(seen.conflicted).toBeGreaterThan(0);
  expect(seen.running).toBeGreaterThan(20);
}, 60_000);
