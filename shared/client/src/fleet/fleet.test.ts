// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { type Service, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { afterEach, expect, test } from 'vitest';
import { AgentError } from '../agent-error.js';
import { StreamLimitReached } from '../stream-limit.js';
import { changeOf, type Simulation, type SimulationOptions, simulatedAgents } from '../testing/index.js';
import type { AgentCalls, FleetOptions, FleetState } from './contract.js';
import { coverageText } from './coverage.js';
import { Fleet } from './fleet.js';

const open: Fleet[] = [];
afterEach(() => {
  for (const fleet of open.splice(0)) fleet.close();
});

async function started(
  simulation: SimulationOptions = {},
  options: Partial<FleetOptions> = {},
): Promise<{ readonly mesh: Simulation; readonly fleet: Fleet; readonly states: FleetState[] }> {
  const mesh = simulatedAgents(simulation);
  const fleet = new Fleet({ reach: mesh.reach, ambient: mesh.ambient, ...options });
  const states: FleetState[] = [];
  fleet.subscribe((state) => states.push(state));
  open.push(fleet);
  fleet.start();
  await mesh.advance(2_000);
  return { mesh, fleet, states };
}

const links = ({ nodes }: FleetState): Record<string, string> =>
  Object.fromEntries([...nodes.values()].map(({ name, link }) => [name, link.kind]));

test('a node in no mesh is the whole of it', async () => {
  const { fleet } = await started({ nodes: 1 });
  expect(fleet.state.mesh).toBeUndefined();
  expect([...fleet.state.nodes.keys()]).toEqual(['name:node01']);
  expect(fleet.state.services.size).toBe(10);
  expect(fleet.state.services.get('service-0000')).toMatchObject({
    agreement: 'same',
    backends: 2,
    healthyBackends: 2,
  });
  expect(fleet.state.backends.size).toBe(20);
});

test('the entry names the others, and each says what it does itself', async () => {
  const { fleet, mesh } = await started({ nodes: 5 });
  expect(fleet.state.mesh?.name).toBe('simulated');
  expect(links(fleet.state)).toEqual({
    node01: 'live',
    node02: 'live',
    node03: 'live',
    node04: 'live',
    node05: 'live',
  });
  expect(fleet.state.coverage).toMatchObject({ nodes: 5, live: 5 });
  expect(fleet.state.configurations).toBe(1);
  const service = fleet.state.services.get('service-0003');
  expect(service?.nodes.size).toBe(5);
  expect(service?.declared?.backends).toHaveLength(2);
  expect(mesh.agents.map(({ streams }) => streams)).toEqual([1, 1, 1, 1, 1]);
  expect(fleet.state.flow.connections).toBeGreaterThan(0);
});

test('an agent that is killed is stale from when it was heard last, and live again when it is back', async () => {
  const { fleet, mesh } = await started({ nodes: 3 });
  const { id } = mesh.agent('node02');
  const killedMs = mesh.ambient.nowMs();
  mesh.agent('node02').kill();
  await mesh.advance(12_000);
  const { coverage, nodes } = fleet.state;
  expect(coverageText(coverage, mesh.ambient.nowMs())).toMatch(/^2 of 3 nodes; 1 stale for 1[23] s$/);
  expect(nodes.get(id)?.link).toMatchObject({ kind: 'stale', reason: 'nobody listens at node02' });
  expect(killedMs - (nodes.get(id)?.heardMs ?? 0)).toBeLessThan(1_000);
  expect(fleet.state.services.get('service-0000')?.nodes.size).toBe(3);
  mesh.agent('node02').start();
  await mesh.advance(31_000);
  expect(links(fleet.state)['node02']).toBe('live');
});

test('a node that says nothing for three heartbeats is stale, with what it has said', async () => {
  const { fleet, mesh } = await started({ nodes: 2 });
  mesh.agent('node02').silence();
  await mesh.advance(44_000);
  expect(links(fleet.state)['node02']).toBe('live');
  await mesh.advance(3_000);
  expect(fleet.state.nodes.get(mesh.agent('node02').id)).toMatchObject({
    link: { kind: 'stale', reason: 'nothing has come for 45 s' },
    status: { nodeName: 'node02' },
  });
  expect(mesh.agent('node02').streams).toBe(0);
});

test('who is refused is told why, and asks again a minute later', async () => {
  const { fleet, mesh } = await started({ nodes: 2 });
  mesh.agent('node02').refuse();
  await mesh.advance(1_000);
  expect(fleet.state.nodes.get(mesh.agent('node02').id)?.link).toMatchObject({ kind: 'refused' });
  expect(fleet.state.coverage).toMatchObject({ live: 1, refused: 1, stale: 0 });
  mesh.agent('node02').recover();
  await mesh.advance(50_000);
  expect(links(fleet.state)['node02']).toBe('refused');
  await mesh.advance(12_000);
  expect(links(fleet.state)['node02']).toBe('live');
});

test('whoever does not wait asks for it', async () => {
  const { fleet, mesh } = await started({ nodes: 2 });
  const { id } = mesh.agent('node02');
  mesh.agent('node02').refuse();
  await mesh.advance(1_000);
  mesh.agent('node02').recover();
  fleet.retry(id);
  await mesh.advance(1_000);
  expect(links(fleet.state)['node02']).toBe('live');
});

test('without the entry, others that are reached through it are stale with it, and all come back', async () => {
  const { fleet, mesh } = await started({ nodes: 4, relayed: true });
  mesh.entry.kill();
  await mesh.advance(20_000);
  expect(fleet.state.coverage).toMatchObject({ nodes: 4, live: 0, stale: 4 });
  expect(fleet.state.nodes.get(mesh.agent('node03').id)?.link).toMatchObject({ reason: 'nobody listens at node01' });
  mesh.entry.start();
  await mesh.advance(31_000);
  expect(fleet.state.coverage).toMatchObject({ nodes: 4, live: 4 });
});

test('without the entry, others that are reached on their own go on, and one says what objects declare', async () => {
  const { fleet, mesh } = await started({ nodes: 3 });
  mesh.entry.kill();
  await mesh.advance(10_000);
  expect(fleet.state.coverage).toMatchObject({ nodes: 3, live: 2 });
  const change = {
    remove: ['service-0001'],
    upsert: [{ ...service(fleet.state, 'service-0002'), labels: { team: 'a' } }],
  };
  await mesh.reach.node(mesh.agent('node02').id).config.apply({ change });
  await mesh.advance(2_000);
  expect(fleet.state.services.get('service-0002')?.declared?.labels).toEqual({ team: 'a' });
  // The entry still has the one that is no more, as far as is known.
  expect([...(fleet.state.services.get('service-0001')?.nodes.keys() ?? [])]).toEqual([mesh.entry.id]);
});

const service = (state: FleetState, name: string) => state.services.get(name)?.declared as Service;

test('a member that is removed disappears, one that has left stays as long as the entry names it', async () => {
  const { fleet, mesh } = await started({ nodes: 4 });
  const { id } = mesh.agent('node03');
  mesh.agent('node03').memberState = MemberState.LEFT;
  await mesh.advance(1_000);
  expect(fleet.state.nodes.get(id)?.link).toMatchObject({ kind: 'stale', reason: 'it has left the mesh' });
  expect(mesh.agent('node03').streams).toBe(0);
  mesh.remove('node03');
  mesh.remove('node04');
  await mesh.advance(2_000);
  expect(Object.keys(links(fleet.state))).toEqual(['node01', 'node02']);
  expect(fleet.state.services.get('service-0000')?.nodes.size).toBe(2);
});

test('a member that joins is observed', async () => {
  const { fleet, mesh } = await started({ nodes: 2 });
  mesh.join('node09');
  await mesh.advance(2_000);
  expect(links(fleet.state)).toEqual({ node01: 'live', node02: 'live', node09: 'live' });
});

test('a node that misses a change differs until it has it', async () => {
  const { fleet, mesh } = await started({ nodes: 3 });
  mesh.agent('node03').isCutOff = true;
  const changed = { ...service(fleet.state, 'service-0004'), labels: { tier: 'gold' } };
  await mesh.reach.entry.config.apply({ change: { upsert: [changed], remove: ['service-0005'] } });
  await mesh.advance(2_000);
  expect(fleet.state.services.get('service-0004')).toMatchObject({ agreement: 'differs' });
  const on = fleet.state.services.get('service-0004')?.nodes;
  expect(mesh.agents.map(({ id }) => on?.get(id)?.same)).toEqual([true, true, false]);
  // Two of three have it no more; the third does.
  expect(fleet.state.services.get('service-0005')).toMatchObject({ agreement: 'differs' });
  expect(fleet.state.configurations).toBe(2);
});

test('what belongs to a cluster is not missed by nodes that are not in it, and is said whole by one that is', async () => {
  const { fleet, mesh } = await started({ nodes: 4 });
  for (const name of ['node03', 'node04']) mesh.agent(name).clusters = ['eu'];
  const change = { upsert: [{ ...service(fleet.state, 'service-0000'), name: 'in-eu', cluster: 'eu' }] };
  await mesh.reach.entry.config.apply({ change });
  await mesh.advance(3_000);
  const view = fleet.state.services.get('in-eu');
  expect([...(view?.nodes.keys() ?? [])].sort()).toEqual([mesh.agent('node03').id, mesh.agent('node04').id]);
  expect(view).toMatchObject({ agreement: 'same', declared: { cluster: 'eu' } });
  mesh.agent('node02').clusters = ['eu'];
  await mesh.advance(2_000);
  expect(fleet.state.services.get('in-eu')?.agreement).toBe('differs');
});

test('a stream that broke goes on from the version that is here', async () => {
  const { fleet, mesh } = await started({ nodes: 2, services: 50 });
  const before = fleet.state.services.get('service-0007');
  mesh.agent('node02').breakStreams();
  mesh.agent('node02').setHealthy('service-0001', 'a', false);
  await mesh.reach.entry.config.apply({ change: { remove: ['service-0002'] } });
  await mesh.advance(5_000);
  expect(links(fleet.state)['node02']).toBe('live');
  expect(fleet.state.services.has('service-0002')).toBe(false);
  expect(fleet.state.backends.has('service-0002/a')).toBe(false);
  expect(fleet.state.services.get('service-0007')?.nodes).toBe(before?.nodes);
  expect(fleet.state.backends.get('service-0001/a')?.health).toBe('mixed');
});

test('a stream that this side has ended, since a browser keeps what it brought, goes on at once and nobody sees it', async () => {
  const mesh = simulatedAgents({ nodes: 3 });
  const resumed: bigint[] = [];
  const limited = (calls: AgentCalls): AgentCalls => ({
    ...calls,
    observe: {
      async *observe(request, options) {
        resumed.push(request.resumeVersion ?? 0n);
        let batches = 0;
        for await (const batch of calls.observe.observe(request, options)) {
          yield batch;
          if (++batches === 5) throw new AgentError('unavailable', 'open it again', [], new StreamLimitReached(1));
        }
      },
    },
  });
  const reach = { entry: limited(mesh.reach.entry), node: (id: string) => limited(mesh.reach.node(id)) };
  const fleet = new Fleet({ reach, ambient: mesh.ambient });
  open.push(fleet);
  fleet.start();
  await mesh.advance(2_000);
  const seen = new Set<string>();
  fleet.subscribe((state) => {
    for (const { link } of state.nodes.values()) seen.add(link.kind);
  });
  await mesh.advance(30_000);
  expect([...seen]).toEqual(['live']);
  expect(resumed.length).toBeGreaterThan(12);
  expect(resumed.slice(3).every((version) => version > 0n)).toBe(true);
});

test('nothing is published where nothing happens', async () => {
  const { mesh, states } = await started({ nodes: 3, moving: 0 });
  await mesh.advance(9_000);
  const { length } = states;
  // The memory of each node is told every 10 s by simulated agents.
  await mesh.advance(10_000);
  expect(states.length - length).toBeLessThanOrEqual(2);
});

test('what has not changed is the same object in the next state', async () => {
  const { fleet, mesh } = await started({ nodes: 3, moving: 0 });
  mesh.agent('node02').traffic.setRate('service-0003', 10, mesh.ambient.nowMs());
  await mesh.advance(1_000);
  const before = fleet.state;
  await mesh.advance(1_000);
  const after = fleet.state;
  expect(after.revision).toBeGreaterThan(before.revision);
  expect(after.objects).toBe(before.objects);
  for (const [name, view] of after.services) {
    if (name === 'service-0003') expect(view.nodes).toBe(before.services.get(name)?.nodes);
    else expect(view).toBe(before.services.get(name));
  }
  expect(after.nodes.get(mesh.agent('node03').id)).toBe(before.nodes.get(mesh.agent('node03').id));
});

test('while paused the state stands and streams go on', async () => {
  const { fleet, mesh, states } = await started({ nodes: 2 });
  fleet.pause();
  const { state } = fleet;
  expect(state.paused).toBe(true);
  const { length } = states;
  await mesh.reach.entry.config.apply({ change: { remove: ['service-0001'] } });
  await mesh.advance(10_000);
  expect(fleet.state).toBe(state);
  expect(states).toHaveLength(length);
  fleet.resume();
  expect(fleet.state.paused).toBe(false);
  expect(fleet.state.services.has('service-0001')).toBe(false);
});

test('at most so many streams are opened at the same time', async () => {
  const mesh = simulatedAgents({ nodes: 8 });
  for (const agent of mesh.agents.slice(1)) agent.silence();
  let asked = 0;
  const node = (id: string) => {
    asked++;
    return mesh.reach.node(id);
  };
  const fleet = new Fleet({ reach: { entry: mesh.reach.entry, node }, ambient: mesh.ambient, dialsMax: 3 });
  open.push(fleet);
  fleet.start();
  await mesh.advance(10_000);
  expect(asked).toBe(3);
  expect(fleet.state.coverage).toMatchObject({ live: 1, connecting: 7 });
  // They give up after 20 s, and the next ones have their turn.
  await mesh.advance(12_000);
  expect(asked).toBeGreaterThanOrEqual(6);
});

test('a node in no mesh that makes one is named anew', async () => {
  const { fleet, mesh } = await started({ nodes: 1 });
  mesh.makeMesh('prod');
  await mesh.advance(3_000);
  expect([...fleet.state.nodes.keys()]).toEqual([mesh.entry.id]);
  expect(fleet.state.mesh?.name).toBe('prod');
  expect(fleet.state.services.get('service-0000')?.nodes.size).toBe(1);
});

test('closing ends all streams', async () => {
  const { fleet, mesh } = await started({ nodes: 3 });
  fleet.close();
  await mesh.advance(1_000);
  expect(mesh.agents.map(({ streams }) => streams)).toEqual([0, 0, 0]);
});

test('a history is kept of services that are watched', async () => {
  const { fleet, mesh } = await started({ nodes: 2, moving: 1 });
  const end = fleet.watch(['service-0001']);
  await mesh.advance(5_000);
  expect(fleet.state.services.get('service-0001')?.history.length).toBeGreaterThan(5);
  expect(fleet.state.services.get('service-0002')?.history).toEqual([]);
  end();
  await mesh.advance(1_000);
  expect(fleet.state.services.get('service-0001')?.history).toEqual([]);
});

test('a node that says more than is taken is refused, and says why', async () => {
  const { fleet, mesh } = await started({ nodes: 2 });
  const { configuration, id } = mesh.agent('node02');
  const declared = {
    kind: 'Service' as const,
    value: { ...service(fleet.state, 'service-0001'), name: 'x'.repeat(600) },
  };
  configuration.take([{ key: `Service/${declared.value.name}`, before: undefined, after: declared }], {
    ...{ author: '', origin: '', message: '' },
  });
  await mesh.advance(1_000);
  expect(fleet.state.nodes.get(id)?.link).toMatchObject({
    kind: 'refused',
    reason: 'it names something with 600 characters, where at most 512 are taken',
  });
});

test('an agent that answers in the place of another is not taken for it', async () => {
  const mesh = simulatedAgents({ nodes: 2 });
  const fleet = new Fleet({ reach: { entry: mesh.reach.entry, node: () => mesh.reach.entry }, ambient: mesh.ambient });
  open.push(fleet);
  fleet.start();
  await mesh.advance(2_000);
  const { link, status } = fleet.state.nodes.get(mesh.agent('node02').id) ?? {};
  expect(link).toMatchObject({ kind: 'refused', reason: `node ${mesh.entry.id} answers in its place` });
  expect(status).toBeUndefined();
});

test('what comes and goes for a long time leaves nothing behind', async () => {
  const { fleet, mesh } = await started({ nodes: 3, services: 3, moving: 1 });
  const template = service(fleet.state, 'service-0001');
  for (let at = 0; at < 40; at++) {
    const added = { ...template, name: `passing-${at}` };
    await mesh.reach.entry.config.apply({ change: { upsert: [added], remove: [`passing-${at - 1}`] } });
    const joined = mesh.join(`guest-${at}`);
    joined.traffic.setRate(added.name, 5, mesh.ambient.nowMs());
    await mesh.advance(2_000);
    mesh.remove(`guest-${at}`);
    await mesh.advance(1_000);
  }
  await mesh.reach.entry.config.apply({ change: { remove: ['passing-39'] } });
  await mesh.advance(2_000);
  const { services, backends, nodes, history } = fleet.state;
  expect([services.size, backends.size, nodes.size]).toEqual([3, 6, 3]);
  expect(history).toHaveLength(120);
  for (const view of services.values()) expect([view.nodes.size, view.tiers.size]).toEqual([3, 3]);
});

test('a change of the configuration is shown at once, while figures that move have the interval', async () => {
  const { mesh, states } = await started({ nodes: 3, services: 20, moving: 1 });
  await mesh.advance(5_000);
  const before = states.length;
  await mesh.advance(10_000);
  expect(states.length - before).toBeLessThanOrEqual(21);
  const lateMs: number[] = [];
  for (let i = 0; i < 10; i++) {
    await mesh.advance(230 + i * 37);
    const atMs = mesh.ambient.nowMs();
    const name = `new-${i}`;
    const service = create(ServiceSchema, { name, backends: [{ name: 'a', address: '10.0.0.1:80' }] });
    await mesh.entry.calls().config.apply({ change: changeOf([service]) });
    await mesh.advance(1_000);
    const shown = states.find(({ services }) => services.has(name));
    lateMs.push((shown?.atMs ?? Number.POSITIVE_INFINITY) - atMs);
  }
  // The agent's 100 ms between two batches, and the fleet's between two states.
  expect(Math.max(...lateMs)).toBeLessThanOrEqual(220);
});

test('that nodes have a change, one after the other, keeps nothing waiting and hurries nobody', async () => {
  const { mesh, fleet, states } = await started({ nodes: 6, services: 4, moving: 0 });
  await mesh.advance(5_000);
  const others = mesh.agents.filter((agent) => agent !== mesh.entry);
  for (const agent of others) agent.isCutOff = true;
  const calls = mesh.entry.calls();
  const service = create(ServiceSchema, { name: 'new', backends: [{ name: 'a', address: '10.0.0.1:80' }] });
  await calls.config.apply({ change: changeOf([service]) });
  await mesh.advance(200);
  expect(fleet.state.services.get('new')?.nodes.size).toBe(1);
  const before = states.length;
  for (const agent of others) {
    agent.configuration.apply(changeOf([service]), 0n, { author: 'simulated', origin: 'api', message: '' });
    await mesh.advance(100);
  }
  await mesh.advance(1_000);
  expect(fleet.state.services.get('new')?.nodes.size).toBe(6);
  expect(states.length - before).toBeLessThanOrEqual(3);
});

test('that nodes are heard for the first time, one after the other, is no news each', async () => {
  const mesh = simulatedAgents({ nodes: 41, services: 4, moving: 0 });
  const late = (calls: AgentCalls, ms: number): AgentCalls => ({
    ...calls,
    observe: {
      async *observe(request, options) {
        await new Promise<void>((resolve) => mesh.ambient.after(ms, resolve));
        yield* calls.observe.observe(request, options);
      },
    },
  });
  const lateMs = (id: string): number => mesh.agents.findIndex((agent) => agent.id === id) * 100;
  const reach = { entry: mesh.reach.entry, node: (id: string) => late(mesh.reach.node(id), lateMs(id)) };
  const fleet = new Fleet({ reach, ambient: mesh.ambient, dialsMax: 64 });
  open.push(fleet);
  fleet.start();
  const states: FleetState[] = [];
  fleet.subscribe((state) => states.push(state));
  await mesh.advance(5_000);
  expect(states.at(-1)?.coverage.live).toBe(41);
  // 4 s, of which each has two.
  expect(states.length).toBeLessThanOrEqual(11);
  expect(states.length).toBeGreaterThanOrEqual(7);
  mesh.agent('node07').kill();
  await mesh.advance(150);
  expect(states.at(-1)?.coverage.live).toBe(40);
});

test('a backend that fails is shown at once, when the first node finds it so and when the last does, and not with each', async () => {
  const { mesh, fleet, states } = await started({ nodes: 40, services: 4, moving: 0 });
  await mesh.advance(15_000);
  const [service] = [...fleet.state.services.keys()];
  const [view] = [...fleet.state.backends.values()].filter((each) => each.service === service);
  if (service === undefined || view === undefined) throw new Error('there is no backend');
  const healthOf = (): string | undefined => fleet.state.backends.get(view.key)?.health;
  for (const healthy of [false, true]) {
    const before = states.length;
    for (const [at, agent] of mesh.agents.entries()) {
      agent.setHealthy(service, view.backend, healthy);
      await mesh.advance(at === 0 ? 220 : 30);
      if (at < mesh.agents.length - 1) expect(healthOf()).toBe('mixed');
    }
    await mesh.advance(220);
    expect(healthOf()).toBe(healthy ? 'healthy' : 'unhealthy');
    // 1.6 s: the first, the last, and those of the interval.
    expect(states.length - before).toBeLessThanOrEqual(6);
  }
  const calls = mesh.entry.calls();
  await calls.node.drain({ service, backend: view.backend });
  await mesh.advance(220);
  expect(fleet.state.backends.get(view.key)?.draining).toBe('some');
});

test('of many nodes each is asked more seldom, and their rates are what they are', async () => {
  const asked: number[] = [];
  const { mesh, fleet } = await started({ nodes: 40, services: 4, moving: 0 });
  const spied = simulatedAgents({ nodes: 40, services: 4 });
  const reach = {
    entry: spied.reach.entry,
    node: (id: string): AgentCalls => {
      const calls = spied.reach.node(id);
      const observe: AgentCalls['observe']['observe'] = (request, options) => {
        asked.push(request.intervalMs ?? 0);
        return calls.observe.observe(request, options);
      };
      return { ...calls, observe: { observe } };
    },
  };
  const other = new Fleet({ reach, ambient: spied.ambient });
  open.push(other);
  other.start();
  await spied.advance(2_000);
  expect(asked).toHaveLength(39);
  expect(new Set(asked)).toEqual(new Set([1_600]));
  mesh.agent('node07').traffic.setRate('service-0001', 10, mesh.ambient.nowMs());
  await mesh.advance(5_000);
  const rates: number[] = [];
  fleet.subscribe(({ flow }) => rates.push(flow.connections));
  for (let i = 0; i < 8; i++) {
    // Batches between those that have figures: nothing has stood still because of them.
    const service = create(ServiceSchema, { name: `new-${i}`, backends: [{ name: 'a', address: '10.0.0.1:80' }] });
    await mesh
      .agent('node07')
      .calls()
      .config.apply({ change: changeOf([service]) });
    await mesh.advance(700);
  }
  expect(rates.length).toBeGreaterThan(8);
  for (const rate of rates) expect(Math.abs(rate - 10)).toBeLessThan(3);
});
