// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type AgentCalls, AgentError } from '@marcher/client/fleet';
import { ObjectDiffSchema, Operation, RevisionSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { type Service, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { LogEntrySchema, LogKind } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { describe, expect, test, vi } from 'vitest';
import { type Harness, type HarnessOptions, harness, settled } from '../testing/console-harness.js';
import { changed, flow, meshState, NOW_MS, nodeKey, stale } from '../testing/mesh-state.js';
import { VIEW_NAMES } from './views/index.js';

const small = meshState({ nodes: 3, services: 40, backends: 2 });

function open(view: string, options: HarnessOptions = {}, state = small): Harness {
  const made = harness(state, options);
  made.type(`:${view}`);
  made.press('enter');
  return made;
}

function rows(made: Harness): string[] {
  return made.screen().filter((line) => /^[ >][ *](web|node|gold|b\d)/.test(line));
}
const chosen = (made: Harness): string => made.screen().find((line) => line.startsWith('>')) ?? '';
const text = (made: Harness): string => made.screen().join('\n');

describe('every view', () => {
  const quiet = (): never => {
    throw new Error('nobody is asked here');
  };
  const entry = {
    config: { history: quiet },
    traffic: { listConnections: quiet, logs: quiet },
    certificates: { listCertificates: quiet },
    access: { listUsers: quiet, listApiKeys: quiet },
    mesh: { listClusters: quiet },
    audit: { listAuditRecords: quiet },
  } as unknown as AgentCalls;

  test.each(VIEW_NAMES.map(({ name }) => name))(
    '%s fills the screen from 40x10 to 300x100, with one header',
    (name) => {
      for (const [columns, lines] of [
        [40, 10],
        [80, 24],
        [300, 100],
      ] as const) {
        const screen = open(name, { columns, rows: lines, entry }).screen();
        expect(screen).toHaveLength(lines);
        expect(screen.filter((line) => line.startsWith(' Marcher '))).toHaveLength(1);
        expect(new Set(screen.map((line) => [...line].length))).toEqual(new Set([columns]));
      }
    },
  );

  test('says where the terminal is smaller than it is made for, and below 40x10 that alone', () => {
    expect(text(open('nodes', { columns: 60, rows: 15 }))).toContain('60x15: made for 80x24');
    expect(text(open('nodes', { columns: 39, rows: 10 }))).toContain('39x10 is too small');
  });

  test('shows the newest of what moves at the end of a line, however wide the terminal is', () => {
    const history = Array.from({ length: 120 }, (_, i) => flow(i === 119 ? 90 : 10, 1_000));
    for (const columns of [40, 80, 132, 300]) {
      const dashboard = harness({ ...small, history }, { columns, rows: 50 });
      const open = dashboard.screen().find((line) => line.startsWith(' Open')) ?? '';
      expect(open.trimEnd(), `${columns} columns`).toMatch(/▂█$/);
      expect(open.trimEnd().length).toBe(Math.min(columns, 28 + 120));
      expect(text(dashboard)).not.toContain('…');
    }
    expect(text(harness({ ...small, history }, { columns: 40, rows: 50 }))).toContain('relay');
  });

  test('is ASCII on a terminal without Unicode', () => {
    const made = open('services', { env: { LANG: 'C' }, columns: 200 });
    expect(text(made)).toMatch(/^[\n\x20-\x7e]*$/);
  });

  test('with NO_COLOR shows by other means what is chosen, and no colour', () => {
    const made = open('services', { env: { NO_COLOR: '1' } });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what begins a colour
    expect(made.controller.lines().join('')).not.toMatch(/\u001b\[[0-9;]*3[0-7]/);
    expect(chosen(made)).toContain('web-0000');
  });
});

describe('what is not known now', () => {
  const cut = changed(small, {
    nodes: { [nodeKey(1)]: { link: stale(NOW_MS - 12_000), heardMs: NOW_MS - 12_000 } },
    coverage: { nodes: 3, live: 2, stale: 1, refused: 0, connecting: 0, oldestMs: NOW_MS - 12_000 },
  });

  test('is said in the header, and goes on counting', () => {
    const made = open('services', {}, cut);
    expect(made.screen()[0]).toContain('2 of 3 nodes; 1 stale for 12s');
    made.clock.pass(3_000);
    expect(made.screen()[0]).toContain('1 stale for 15s');
  });

  test('is said of the node, with why', () => {
    const made = open('nodes', {}, cut);
    expect(text(made)).toMatch(/node02 +stale 12s/);
    made.clock.pass(2_000);
    expect(text(made)).toMatch(/node02 +stale 14s/);
    made.press('j', 'enter');
    expect(text(made)).toContain('the connection was cut');
    expect(text(made)).toContain('as it was at');
  });

  test('is asked for again by r, and by :retry of all', () => {
    const made = open('nodes', {}, cut);
    made.press('r');
    expect(made.fleet.retried).toEqual([]);
    made.press('j', 'r');
    made.type(':retry');
    made.press('enter');
    expect(made.fleet.retried).toEqual([nodeKey(1), nodeKey(1)]);
  });
});

describe('a list', () => {
  test('mounts the rows that are seen, and no others', () => {
    const made = open('services', { rows: 24 }, meshState({ nodes: 1, services: 5_000, backends: 1 }));
    expect(rows(made)).toHaveLength(19);
    made.press('G');
    expect(chosen(made)).toContain('web-4999');
    expect(rows(made)).toHaveLength(19);
  });

  test('keeps the chosen row when others come before it, and when it moves', () => {
    const made = open('services');
    made.press('S', 'j', 'j');
    const name = chosen(made).slice(2, 10);
    made.press('N', 'N');
    expect(chosen(made)).toContain(name);
  });

  test('is sorted by the column of a letter, as numbers where they are', () => {
    const made = open('services');
    made.press('I', 'I', 'g');
    expect(rows(made)[0]).toContain('web-0039');
    expect(text(made)).toContain('IN↓');
  });

  test('is filtered while one types, and says how many of how many', () => {
    const made = open('services');
    made.type('/^web-003');
    expect(rows(made)).toHaveLength(10);
    expect(text(made)).toContain('of 40');
    made.type('[');
    expect(text(made)).toContain('/^web-003[');
    made.press('esc');
    expect(text(made)).toContain('1/40');
  });

  test('leads on: a service to its backends, a node to its services', () => {
    const made = open('services web-0007');
    made.press('b');
    expect(rows(made)).toHaveLength(2);
    expect(text(made)).toContain('services › backends of web-0007');
    const node = open('nodes');
    node.press('s');
    expect(text(node)).toContain('nodes › services of node01');
  });

  test('keeps the chosen row on the screen while what is said takes several lines', () => {
    const made = open('services', { columns: 60, rows: 16 });
    made.press('G');
    const said =
      'the agent did not do it, since it is in no mesh: make one of this node, start it with marcherd --mesh NAME';
    made.controller.complain(said);
    const lines = made.screen();
    expect(lines).toHaveLength(16);
    expect(lines.slice(-3, -1).join('').replaceAll(/ +/g, ' ').trim()).toBe(said);
    expect(chosen(made)).toContain('web-0039');
    expect(lines.at(-4)).toContain('web-0039');
    made.press('esc');
    expect(made.screen().at(-3)).toContain('web-0039');
    // What is much longer leaves the page its half.
    made.controller.complain('word '.repeat(400));
    expect(chosen(made)).toContain('web-0039');
    expect(rows(made).length).toBeGreaterThan(4);
  });

  test('of which nobody knew anything says why, whole and once', async () => {
    const why =
      'users and keys belong to a mesh, and this node is in none: make one of this node: start it with marcherd --mesh NAME';
    const listUsers = async () => {
      throw new Error(why);
    };
    const made = open('users', { columns: 60, entry: { access: { listUsers } } as unknown as AgentCalls });
    await settled();
    const words = text(made).replaceAll(/\s+/g, ' ');
    expect(words.split(why).length - 1).toBe(1);
    expect(words.split('users and keys').length - 1).toBe(1);
  });

  test('a picture that is held stands, and says so', () => {
    const made = open('services');
    made.press('p');
    expect(made.fleet.state.paused).toBe(true);
    expect(made.screen()[0]).toContain('PAUSED');
    made.press('p');
    expect(made.fleet.state.paused).toBe(false);
  });

  test('writes nothing while nothing changes', () => {
    const made = open('nodes');
    const told = vi.fn();
    made.controller.subscribe(told);
    const before = made.controller.lines();
    made.fleet.set(changed(made.fleet.state, {}));
    made.clock.pass(30_000);
    expect(told).not.toHaveBeenCalled();
    expect(made.controller.lines()).toBe(before);
  });
});

describe('of one thing', () => {
  test('x says which tier carries a service, why, and what would be faster', () => {
    const made = open('services');
    made.press('x');
    expect(text(made)).toContain('On all 3 nodes');
    expect(text(made)).toContain('it asks for a PROXY header');
    expect(text(made)).toContain('backends take IPIP');
  });

  test('y is the file that apply takes', () => {
    const made = open('shaping');
    made.press('y');
    expect(text(made)).toContain('ingress');
    expect(text(made)).toContain('trafficPolicies:');
  });

  test('all about one has the keys of its row, and the line at the bottom says which', () => {
    const made = open('services web-0003', { columns: 120 });
    made.press('enter');
    expect(made.screen().at(-1)).toMatch(/a actions .*x explain .*e edit/);
    made.press('x');
    expect(text(made)).toContain('explain of web-0003');
    made.press('esc', 'y');
    expect(text(made)).toContain('yaml of web-0003');
    made.press('esc', 'b');
    expect(text(made)).toContain('backends of web-0003');
    made.press('esc', 'a');
    expect(text(made)).toContain('services: web-0003');
  });

  test('a form says at 80 columns how it is left', () => {
    const made = open('services web-0003', { columns: 80 });
    made.press('a');
    expect(made.screen().at(-1)?.trimEnd()).toMatch(/^ Enter next .*Esc do nothing$/);
  });

  test('its tree, its explanation and its file have them too, and lead from one to the other', () => {
    const made = open('services web-0003', { columns: 120 });
    made.press('t');
    expect(made.screen().at(-1)).toMatch(/a actions .*x explain .*e edit/);
    expect(made.screen().at(-1)).not.toContain('t tree');
    made.press('x');
    expect(text(made)).toContain('explain of web-0003');
    made.press('y', 'y', 'y', 'esc');
    expect(text(made)).toContain('explain of web-0003');
    made.press('y', 'b');
    expect(text(made)).toContain('backends of web-0003');
  });

  test('of a backend it is the service that is read about', () => {
    const made = open('backends', { columns: 120 });
    const before = text(made);
    made.press('y', 'esc');
    expect(text(made)).toBe(before);
    made.press('y', 't', 'b');
    expect(text(made)).toContain('backends of web-0000');
  });

  test('all about a node is what x would show, and neither sorts nor marks', () => {
    const made = open('nodes', { columns: 120 });
    made.press('j', 'enter');
    const before = text(made);
    made.press('x', 'O', 'space');
    expect(text(made)).toBe(before);
    made.press('s');
    expect(text(made)).toContain('services of node02');
  });

  test('a text has its long lines whole, and can be read to its end', () => {
    const reason = `exit of ${'the program '.repeat(40)}at last`;
    const link = { kind: 'stale', sinceMs: NOW_MS - 12_000, retryAtMs: NOW_MS, reason } as const;
    const made = open('nodes', { columns: 60, rows: 30 }, changed(small, { nodes: { [nodeKey(1)]: { link } } }));
    made.press('j', 'enter');
    expect(text(made).replaceAll(/\s+/g, ' ')).toContain(reason);
    expect(made.screen()[5]).toMatch(/^ {15}\S/);
    made.press('G');
    expect(text(made)).toMatch(/web-0039 .*\n.*relay writes/);
    expect(text(made)).not.toContain('…');
    // To its end, too, while something that is said takes lines of it.
    made.controller.complain(reason);
    made.press('g', 'G');
    expect(text(made)).toMatch(/web-0039 .*\n.*relay writes/);
  });

  test('a text that is about something that is gone says so', () => {
    const made = open('services web-0003');
    made.press('enter');
    const services = new Map(small.services);
    services.delete('web-0003');
    made.fleet.set({ ...small, services, revision: 9 });
    expect(text(made)).toContain('web-0003 is gone.');
  });

  test('what agents say drives no terminal', () => {
    const evil = changed(small, { nodes: { [nodeKey(0)]: { name: 'a\u001b[2J\u0007b' } } });
    const made = open('nodes', {}, evil);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what is not a colour
    expect(made.controller.lines().join('')).not.toMatch(/\u001b\[2J|\u0007/);
  });
});

describe('draining', () => {
  function agents() {
    const told: string[] = [];
    const node = (key: string): Partial<AgentCalls> =>
      ({
        node: {
          drain: async ({ service, backend }: { service: string; backend: string }) => {
            told.push(`drain ${key} ${service}/${backend}`);
            return { connections: 4n };
          },
          undrain: async () => {
            told.push(`undrain ${key}`);
            return {};
          },
        },
      }) as unknown as Partial<AgentCalls>;
    return { told, options: { node, entry: node('entry') } };
  }
  const unlock = (made: Harness): void => {
    made.type(':unlock');
    made.press('enter');
  };

  test('is refused while the console only reads', () => {
    const { told, options } = agents();
    const made = open('nodes', options);
    made.press('d', 'y');
    expect(text(made)).toContain(':unlock');
    expect(told).toEqual([]);
  });

  test('asks first, shows the command that does the same, and tells the node', async () => {
    const { told, options } = agents();
    const made = open('nodes', options);
    unlock(made);
    made.press('j', 'd');
    expect(text(made)).toContain('Drain node02?');
    expect(text(made)).toContain('marcher -t unix:/run/marcher/marcher.sock drain --node node02');
    made.press('y');
    await settled();
    expect(told).toEqual([`drain ${nodeKey(1)} /`]);
    expect(text(made)).toContain('4 connections may finish');
  });

  test('goes from where all about a node is shown, to that node alone', async () => {
    const { told, options } = agents();
    const made = open('nodes', options);
    unlock(made);
    made.press('space', 'j', 'j', 'enter', 'd');
    expect(text(made)).toContain('Drain node03?');
    made.press('y');
    await settled();
    expect(told).toEqual([`drain ${nodeKey(2)} /`]);
  });

  test('n and Esc change nothing', async () => {
    const { told, options } = agents();
    const made = open('nodes', options);
    unlock(made);
    made.press('d', 'n', 'd', 'esc');
    await settled();
    expect(told).toEqual([]);
    expect(text(made)).toContain('Nothing was changed.');
  });

  test('of all nodes has to be typed', async () => {
    const { told, options } = agents();
    const made = open('nodes', options);
    unlock(made);
    made.press('space', 'space', 'space', 'd');
    expect(text(made)).toContain('the mesh stands still');
    made.press('y', 'enter');
    await settled();
    expect(told).toEqual([]);
    made.type('drain');
    made.press('enter');
    await settled();
    expect(told).toHaveLength(3);
  });

  test('of a backend goes to each live node that has it, and leaves out those that are away', async () => {
    const { told, options } = agents();
    const state = changed(small, { nodes: { [nodeKey(2)]: { link: stale(NOW_MS) } } });
    const made = open('backends web-0001', options, state);
    unlock(made);
    made.press('d');
    expect(text(made)).toContain('1 node can');
    made.press('y');
    await settled();
    expect(told).toEqual(['drain entry web-0001/b0', `drain ${nodeKey(1)} web-0001/b0`]);
  });

  test('of the last healthy backend has to be typed', () => {
    const { options } = agents();
    const made = open('backends web-0001', options);
    unlock(made);
    made.press('space', 'space', 'd');
    expect(text(made)).toContain('Service web-0001 has no other healthy backend');
    expect(text(made)).toContain('Type drain');
  });

  test('says which node did not do it', async () => {
    const entry = { node: { undrain: async () => Promise.reject(new Error('no place')) } } as unknown as AgentCalls;
    const made = open('nodes', { entry });
    unlock(made);
    made.press('u', 'y');
    await settled();
    expect(text(made)).toContain('0 of 1 node did it. node01: no place');
  });
});

describe('editing', () => {
  const diff = create(ObjectDiffSchema, {
    ...{ kind: 'Service', name: 'web-0000', operation: Operation.UPDATE },
    fields: [{ path: 'backends[0].weight', before: '1', after: '5' }],
  });

  /** Says that it has what the console was told that it has, unless it is another's by now. */
  function agent(failure?: Error, other = false) {
    const applied: unknown[] = [];
    const reverted: unknown[] = [];
    let version = 7n;
    let services = small.services;
    const entry = {
      config: {
        get: async ({ name }: { name: string }) => {
          const service = services.get(name)?.declared;
          return { version, resource: { service: other ? create(ServiceSchema, { name }) : service } };
        },
        plan: async () => ({ version, diffs: [diff], violations: [] }),
        apply: async (request: { change: { upsert: Service[] } }) => {
          if (failure !== undefined) throw failure;
          applied.push(request);
          const [after] = request.change.upsert;
          if (after !== undefined)
            services = changed(small, { services: { [after.name]: { declared: after } } }).services;
          version++;
          return { version, changed: true, diffs: [diff], acks: 0 };
        },
        revert: async (request: unknown) => {
          reverted.push(request);
          return { version: version + 1n, diffs: [diff], acks: 0 };
        },
      },
    } as unknown as AgentCalls;
    return { applied, reverted, entry };
  }
  const start = (made: Harness): void => {
    made.type(':unlock');
    made.press('enter', 'e');
  };
  const heavier = async (before: string): Promise<string> => before.replace('name: b0', 'name: b0\n        weight: 5');

  test('shows the plan, and applies it to the version that it was made for', async () => {
    const { applied, entry } = agent();
    const made = open('services', { entry, editor: heavier });
    start(made);
    await settled();
    expect(text(made)).toContain('Change service web-0000?');
    expect(text(made)).toContain('backends[0].weight');
    // The command that does the same is shown whole.
    expect(text(made).replaceAll('\n', '')).toContain('--expected-version 7');
    expect(applied).toEqual([]);
    made.press('y');
    await settled();
    expect(applied).toMatchObject([
      { expectedVersion: 7n, change: { upsert: [{ name: 'web-0000', backends: [{ weight: 5 }, {}] }] } },
    ]);
    expect(text(made)).toContain('Applied version 8. :undo takes it back.');
  });

  test(':undo goes back to the version before, where nothing has come since', async () => {
    const { reverted, entry } = agent();
    const made = open('services', { entry, editor: heavier });
    start(made);
    await settled();
    made.press('y');
    await settled();
    made.type(':undo');
    made.press('enter');
    await settled();
    expect(text(made)).toContain('Undo version 8?');
    expect(text(made)).toContain('revert 7');
    made.press('y');
    await settled();
    expect(reverted).toMatchObject([{ version: 7n, expectedVersion: 8n }]);
  });

  test('what somebody else has changed since is not written over', async () => {
    const { applied, entry } = agent(undefined, true);
    const made = open('services', { entry, editor: heavier });
    start(made);
    await settled();
    expect(text(made)).toContain('Somebody else has changed it');
    expect(applied).toEqual([]);
  });

  test('another name makes another object and deletes this one, which has to be typed', async () => {
    const { entry } = agent();
    const made = open('services', { entry, editor: async (before) => before.replace('web-0000', 'shop') });
    start(made);
    await settled();
    expect(text(made)).toContain('Type web-0000 and Enter');
  });

  test('what is not valid is said line by line, and can be edited again as it was written', async () => {
    const seen: string[] = [];
    const editor = async (before: string): Promise<string> => {
      seen.push(before);
      return seen.length === 1 ? before.replace('protocol: tcp', 'protocol: carrier-pigeon') : before;
    };
    const made = open('services', { entry: agent().entry, editor });
    start(made);
    await settled();
    expect(text(made)).toContain('It is not valid');
    expect(text(made)).toContain('carrier-pigeon');
    made.press('e');
    await settled();
    expect(seen[1]).toContain('carrier-pigeon');
  });

  test('a conflict keeps what was written', async () => {
    const seen: string[] = [];
    const { entry } = agent(new Error('the version is 9'));
    const made = open('services', {
      entry,
      editor: async (before) => {
        seen.push(before);
        return seen.length === 1 ? heavier(before) : undefined;
      },
    });
    start(made);
    await settled();
    made.press('y');
    await settled();
    expect(text(made)).toContain('the version is 9');
    made.press('e');
    await settled();
    expect(seen[1]).toContain('weight: 5');
  });

  test('nothing happens where nothing was changed, or the editor failed', async () => {
    const { applied, entry } = agent();
    const same = open('services', { entry, editor: async () => undefined });
    start(same);
    await settled();
    expect(text(same)).toContain('was left as it is');
    const broken = open('services', {
      entry,
      editor: async () => Promise.reject(new Error('the editor "vi" ended with 127')),
    });
    start(broken);
    await settled();
    expect(text(broken)).toContain('the editor "vi" ended with 127');
    expect(applied).toEqual([]);
  });
});

describe('objects', () => {
  function agent() {
    const applied: { readonly change: { readonly upsert: { name: string }[]; readonly remove: string[] } }[] = [];
    const entry = {
      config: {
        get: async ({ name }: { name: string }) => {
          const service = small.services.get(name)?.declared;
          if (service === undefined) throw new AgentError('not_found', 'there is none', [], undefined);
          return { version: 7n, resource: { service } };
        },
        listObjects: async ({ kind, name }: { kind: string; name: string }) => {
          const object = small.objects.get(`${kind}/${name}`)?.declared;
          return { version: 7n, resources: object === undefined ? [] : [{ object }] };
        },
        plan: async () => ({
          ...{ version: 7n, violations: [] },
          diffs: [create(ObjectDiffSchema, { kind: 'Service', name: 'x', operation: Operation.CREATE })],
        }),
        apply: async (request: (typeof applied)[number]) => {
          applied.push(request);
          return { version: 8n, changed: true, diffs: [], acks: 0 };
        },
      },
    } as unknown as AgentCalls;
    return { applied, entry };
  }
  const unlocked = (view: string, options: HarnessOptions): Harness => {
    const made = open(view, options);
    made.type(':unlock');
    made.press('enter');
    return made;
  };

  test.each(['services', 'listeners', 'shaping', 'guards'])(
    'a new one is begun from a template that is valid: %s',
    async (view) => {
      const { applied, entry } = agent();
      // The template as it is, without what is only said in it.
      const made = unlocked(view, { entry, editor: async (template) => `${template}# done\n` });
      made.press('n');
      await settled();
      expect(text(made)).toMatch(/Create (service|guard|traffic policy) new-/);
      made.press('y');
      await settled();
      expect(applied).toHaveLength(1);
      expect(text(made)).toContain('Applied version 8. :undo takes it back.');
    },
  );

  test('a copy has to have a name of its own', async () => {
    const { applied, entry } = agent();
    const seen: string[] = [];
    const editor = async (before: string): Promise<string> => {
      seen.push(before);
      return seen.length === 1 ? before.replace('web-0000-copy', 'web-0001') : before.replace('web-0001', 'shop');
    };
    const made = unlocked('services', { entry, editor });
    made.press('o');
    await settled();
    expect(seen[0]).toContain('name: web-0000-copy');
    expect(text(made)).toContain('there is service web-0001 already');
    made.press('e');
    await settled();
    expect(text(made)).toContain('Create service shop?');
    made.press('y');
    await settled();
    expect(applied[0]?.change.upsert).toMatchObject([{ name: 'shop' }]);
  });

  test('those that are marked are deleted by what has to be typed, of listeners the services', async () => {
    const { applied, entry } = agent();
    const made = unlocked('services', { entry });
    made.press('space', 'space', 'ctrl-k');
    await settled();
    expect(text(made)).toContain('Delete 2 objects?');
    made.type('delete 2');
    made.press('enter');
    await settled();
    const listeners = unlocked('listeners', { entry });
    listeners.press('j', 'ctrl-k');
    await settled();
    expect(text(listeners)).toContain('Type web-0001 and Enter');
    listeners.type('web-0001');
    listeners.press('enter');
    await settled();
    expect(applied.map(({ change }) => change.remove)).toEqual([['web-0000', 'web-0001'], ['web-0001']]);
  });

  test('goes from where all about it is shown, which then says that it is gone', async () => {
    const { applied, entry } = agent();
    const made = unlocked('services web-0003', { entry });
    made.press('enter', 'ctrl-k');
    await settled();
    made.type('web-0003');
    made.press('enter');
    await settled();
    expect(applied.map(({ change }) => change.remove)).toEqual([['web-0003']]);
    const services = new Map(small.services);
    services.delete('web-0003');
    made.fleet.set({ ...small, services });
    expect(text(made)).toContain('web-0003 is gone.');
    made.press('e');
    expect(text(made)).toContain('Choose a service');
  });
});

describe('a tree', () => {
  test('of a service has its listeners, its nodes, and their backends', () => {
    const made = open('services web-0003');
    made.press('t');
    expect(text(made)).toContain('web-0003  backends: 2 of 2 healthy');
    expect(text(made)).toContain('├─ listener tcp');
    expect(text(made)).toMatch(/├─ node01 +live/);
    expect(text(made)).toMatch(/└─ node03 +live/);
    expect(text(made)).toMatch(/│ {2}├─ b0/);
  });

  test('from the services of a node is that of the node alone, as is why', () => {
    const made = open('nodes');
    made.press('j', 's', 't');
    expect(text(made)).toContain('node02');
    expect(text(made)).not.toContain('node01 ');
    made.press('esc', 'x');
    expect(text(made)).toContain('On node02');
  });
});

test('of a policy is shown what moves of the services that go by it', () => {
  const declared = { ...(small.services.get('web-0001')?.declared as Service), trafficPolicy: 'gold' };
  const made = open('shaping', { columns: 140 });
  expect(text(made)).toMatch(/gold .* 4 +5.9KiB\/s +12KiB\/s/);
  made.fleet.set(changed(small, { services: { 'web-0001': { declared, flow: flow(1, 8 << 20) } } }));
  expect(text(made)).toMatch(/gold .* 5 +8(\.0)?MiB\/s +16MiB\/s/);
});

test('histories are kept of the services on the screen alone', () => {
  const made = open('services');
  expect(made.fleet.watched[0]).toBe('web-0000');
  expect(made.fleet.watched).toHaveLength(25);
  made.press('enter');
  expect(made.fleet.watched).toEqual(['web-0000']);
  made.press('esc', ':', 'n', 'o', 'enter');
  expect(made.fleet.watched).toEqual([]);
});

test('the console locks by itself after a time without a change', () => {
  const made = open('unlock');
  expect(made.screen()[0]).toContain('UNLOCKED');
  made.clock.pass(16 * 60_000);
  expect(made.screen()[0]).toContain('read-only');
});

describe('a clock that is set', () => {
  const HOUR = 60 * 60_000;

  test('back does not keep the console unlocked, forth does not lock it', () => {
    const made = open('unlock');
    made.clock.pass(10 * 60_000);
    made.clock.jump(-HOUR);
    made.clock.pass(4 * 60_000);
    expect(made.screen()[0]).toContain('UNLOCKED');
    made.clock.pass(2 * 60_000);
    expect(made.screen()[0]).toContain('read-only');
    const other = open('unlock');
    other.clock.jump(HOUR);
    other.clock.pass(60_000);
    expect(other.screen()[0]).toContain('UNLOCKED');
  });

  test('back makes no age negative', () => {
    const coverage = { nodes: 3, live: 2, stale: 1, refused: 0, connecting: 0, oldestMs: NOW_MS };
    const made = open('nodes', {}, changed(small, { nodes: { [nodeKey(1)]: { link: stale(NOW_MS) } }, coverage }));
    made.clock.jump(-HOUR);
    made.clock.pass(1_000);
    expect(made.screen()[0]).toContain('1 stale for 0s');
    expect(text(made)).not.toMatch(/-\d+[smhd]/);
  });

  test('back at a node does not end its log here', async () => {
    const said = (ms: number, service: string) => ({
      dropped: 0n,
      entry: create(LogEntrySchema, { time: timestampFromMs(NOW_MS + ms), kind: LogKind.CONNECTION_CLOSED, service }),
    });
    let streams = 0;
    const entry = {
      traffic: {
        async *logs() {
          if (streams++ === 0) yield said(0, 'of-before');
          else {
            // As of a stream that begins again: first what has been, then what comes.
            for (let i = 0; i < 200; i++) yield said(-i - 1, 'of-old');
            yield said(-HOUR, 'of-after');
            await new Promise(() => undefined);
          }
        },
      },
    } as unknown as AgentCalls;
    const made = open('logs', { entry }, meshState({ nodes: 1, services: 1, backends: 1 }));
    await vi.waitFor(() => {
      made.clock.pass(3_000);
      expect(text(made)).toContain('of-after');
    });
    expect(text(made)).not.toContain('of-old');
  });
});

describe('what is asked for while it is looked at', () => {
  test('history: rows, and of one what it has changed', async () => {
    const revisions = [
      create(RevisionSchema, { version: 7n, time: timestampFromMs(NOW_MS), author: 'alice', updated: 1 }),
    ];
    const history = vi.fn(async () => ({ revisions }));
    const made = open('history', { entry: { config: { history } } as unknown as AgentCalls });
    await settled();
    expect(text(made)).toContain('alice');
    made.press('enter');
    await settled();
    expect(history).toHaveBeenLastCalledWith({ limit: 1, beforeVersion: 8n, withDiff: true }, expect.anything());
    expect(text(made)).toContain('marcher revert 7');
    made.press('a');
    expect(text(made)).toContain('[revert]');
  });

  test('stays while asking fails, and says that it does', async () => {
    let fails = false;
    const listUsers = async () => {
      if (fails) throw new Error('the agent is away');
      return { users: [{ name: 'alice', role: 1, hasPassword: true }] };
    };
    const made = open('users', { entry: { access: { listUsers } } as unknown as AgentCalls });
    await settled();
    fails = true;
    made.clock.pass(10_000);
    await settled();
    expect(text(made)).toContain('alice');
    expect(text(made)).toContain('the agent is away');
  });

  test('is not asked for once one looks at something else', async () => {
    const listUsers = vi.fn(async () => ({ users: [] }));
    const made = open('users', { entry: { access: { listUsers } } as unknown as AgentCalls });
    await settled();
    made.type(':nodes');
    made.press('enter');
    made.clock.pass(60_000);
    expect(listUsers).toHaveBeenCalledTimes(1);
  });

  test('logs of all live nodes stand in order of time, and are followed', async () => {
    const entryAt = (ms: number, service: string) => ({
      dropped: 0n,
      entry: create(LogEntrySchema, {
        time: timestampFromMs(NOW_MS + ms),
        kind: LogKind.CONNECTION_CLOSED,
        service,
        reason: 'closed',
      }),
    });
    const streams: Record<string, number> = { [nodeKey(1)]: 5, [nodeKey(2)]: 1 };
    const node = (key: string) =>
      ({
        traffic: {
          async *logs() {
            yield entryAt(streams[key] ?? 3, `of-${(streams[key] ?? 3).toString()}`);
            await new Promise(() => undefined);
          },
        },
      }) as unknown as AgentCalls;
    const made = open('logs', { node, entry: node('entry') });
    await settled();
    made.clock.pass(300);
    const found = made.screen().flatMap((line) => /of-\d/.exec(line)?.[0] ?? []);
    expect(found).toEqual(['of-1', 'of-3', 'of-5']);
    expect(chosen(made)).toContain('of-5');
  });

  test('a node that does not answer is named, and the others are shown', async () => {
    const listConnections = async () => ({
      total: 1n,
      connections: [
        {
          id: 1n,
          service: 'web',
          client: '192.0.2.9:1',
          bytesReceived: 0n,
          bytesSent: 0n,
          idleMs: 0n,
          transport: 'tcp',
          state: 'established',
          backend: 'a',
        },
      ],
    });
    const node = (key: string) =>
      ({
        traffic: {
          listConnections: key === nodeKey(2) ? async () => Promise.reject(new Error('it is slow')) : listConnections,
        },
      }) as unknown as AgentCalls;
    const made = open('connections', { node, entry: node('entry') });
    await settled();
    expect(text(made)).toContain('node03: it is slow');
    expect(made.screen().filter((line) => line.includes('192.0.2.9:1'))).toHaveLength(2);
  });
});

describe('the end', () => {
  test.each([[':q', 'enter'], ['ctrl-c'], ['q']])('%s', async (...keys) => {
    const made = harness(small);
    for (const key of keys) key.startsWith(':') ? made.type(key) : made.press(key);
    await expect(made.controller.done).resolves.toBeUndefined();
  });
});
