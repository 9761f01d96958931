// SPDX-License-Identifier: Apache-2.0
/** A mesh of simulated agents: counters that move, failures, silence, and time that a test drives by hand. */
import { create } from '@bufbuild/protobuf';
import type { ConnectRouter } from '@connectrpc/connect';
import { Protocol, type Service, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { AgentError } from '../agent-error.js';
import type { AgentCalls, Ambient, Reach } from '../fleet/contract.js';
import { SimulatedAdministration } from './simulated-administration.js';
import { SimulatedAgent, type SimulatedMesh } from './simulated-agent.js';
import { SimulatedClock, seededRandom } from './simulated-clock.js';
import { changeOf } from './simulated-configuration.js';

export interface SimulationOptions {
  /** Default 3. 1: it is in no mesh. */
  readonly nodes?: number;
  /** Default 10, named "service-0000" and so on; or these. */
  readonly services?: number | readonly Service[];
  /** Of each service. Default 2: "a", "b". */
  readonly backends?: number;
  readonly seed?: number;
  /** Share of the services of a node that have traffic. Default 0.2. */
  readonly moving?: number;
  /** Others are reached through the entry agent. Default false: each on a way of its own. */
  readonly relayed?: boolean;
  /** Default: a clock that is driven by hand. A real one lets it live by itself. */
  readonly ambient?: Ambient;
  /** Services of the API that are not simulated, such as the audit log. */
  readonly extra?: (router: ConnectRouter, agent: SimulatedAgent) => void;
}

export interface Simulation {
  /** The first is the entry. */
  readonly agents: readonly SimulatedAgent[];
  readonly entry: SimulatedAgent;
  readonly reach: Reach;
  /** What an agent answers, by the way that it is reached. */
  routes(router: ConnectRouter, agent: SimulatedAgent): void;
  readonly ambient: Ambient;
  readonly administration: SimulatedAdministration;
  /** Of the clock that is driven by hand. */
  advance(ms: number): Promise<void>;
  /** Error: there is none of the name or id. */
  agent(nameOrId: string): SimulatedAgent;
  /** Another one joins, with the configuration of the entry. */
  join(name: string): SimulatedAgent;
  /** Of a node that is in none. */
  makeMesh(name: string): void;
  /** It is not a member any more, and ends. */
  remove(nameOrId: string): void;
}

export function simulatedAgents(options: SimulationOptions = {}): Simulation {
  const { nodes = 3, seed = 1, moving = 0.2, relayed = false } = options;
  const clock = options.ambient === undefined ? new SimulatedClock(seed) : undefined;
  const ambient: Ambient = options.ambient ?? (clock as SimulatedClock);
  const agents: SimulatedAgent[] = [];
  let joined = 0;
  const mesh: { -readonly [K in keyof SimulatedMesh]: SimulatedMesh[K] } = {
    id: nodes === 1 ? '' : MESH_ID,
    name: nodes === 1 ? '' : 'simulated',
    agents: () => agents,
    replicate: (from, steps, said) => {
      if (from.isCutOff) return;
      for (const agent of agents) {
        if (agent !== from && !agent.isCutOff && agent.condition !== 'down') agent.configuration.take(steps, said);
      }
    },
    administration: new SimulatedAdministration(
      () => ambient.nowMs(),
      () => agents,
      (id) => {
        const agent = agents.find((one) => one.id === id);
        agent?.kill();
        if (agent !== undefined) agents.splice(agents.indexOf(agent), 1);
      },
    ),
    extra: options.extra ?? (() => {}),
  };
  const add = (name: string): SimulatedAgent => {
    const id = (0x8a3f0c61d2e90000n + BigInt(++joined)).toString(16).padStart(16, '0');
    const agent = new SimulatedAgent(id, name, ambient, mesh);
    agents.push(agent);
    return agent;
  };
  for (let at = 0; at < nodes; at++) add(`node${String(at + 1).padStart(2, '0')}`);
  const entry = agents[0] as SimulatedAgent;
  const services = typeof options.services === 'object' ? options.services : named(options);
  entry.configuration.apply(changeOf(services), 0n, { author: 'simulated', origin: 'api', message: 'first' });
  const random = seededRandom(seed);
  for (const agent of agents) {
    if (agent !== entry) agent.configuration.copy(entry.configuration);
    for (const { name } of services) {
      if (random() < moving) agent.traffic.setRate(name, 1 + Math.floor(random() * 20), ambient.nowMs());
    }
  }
  mesh.administration.fill();
  const find = (nameOrId: string): SimulatedAgent => {
    const found = agents.find(({ id, name }) => id === nameOrId || name === nameOrId);
    if (found === undefined) throw new Error(`there is no simulated agent ${nameOrId}`);
    return found;
  };
  const calls = new Map<string, AgentCalls>();
  const entryCalls = entry.calls();
  const wayTo = (agent: SimulatedAgent): SimulatedAgent => (relayed ? entry : agent);
  return {
    agents,
    entry,
    ambient,
    reach: {
      entry: entryCalls,
      node: (nodeId) => {
        const known = calls.get(nodeId);
        if (known !== undefined) return known;
        const agent = agents.find(({ id }) => id === nodeId);
        if (agent === undefined) throw new AgentError('not_found', `there is no member ${nodeId}`, [], undefined);
        const made = agent === entry ? entryCalls : agent.calls(wayTo(agent));
        calls.set(nodeId, made);
        return made;
      },
    },
    routes: (router, agent) => agent.routes(router, wayTo(agent)),
    advance: async (ms) => {
      if (clock === undefined) throw new Error('this simulation has a clock of its own: it is not driven by hand');
      await clock.advance(ms);
    },
    agent: find,
    administration: mesh.administration,
    join: (name) => {
      const agent = add(name);
      agent.configuration.copy(entry.configuration);
      return agent;
    },
    makeMesh: (name) => {
      mesh.id = MESH_ID;
      mesh.name = name;
    },
    remove: (nameOrId) => {
      const agent = find(nameOrId);
      agent.kill();
      agents.splice(agents.indexOf(agent), 1);
      calls.delete(agent.id);
    },
  };
}

const MESH_ID = '5d0c3f9a71be48e2a6f4107cb2d98e35';

function named({ services = 10, backends = 2 }: SimulationOptions): Service[] {
  return Array.from({ length: services as number }, (_, at) =>
    create(ServiceSchema, {
      name: `service-${String(at).padStart(4, '0')}`,
      listeners: [{ protocol: Protocol.TCP, ports: [{ first: 1_024 + at, last: 1_024 + at }] }],
      backends: Array.from({ length: backends }, (_, index) => ({
        name: String.fromCharCode(97 + (index % 26)) + (index < 26 ? '' : String(Math.floor(index / 26))),
        address: `10.${index}.${at >>> 8}.${at & 255}:8080`,
      })),
    }),
  );
}
