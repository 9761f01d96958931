// SPDX-License-Identifier: Apache-2.0
/** The states of another thread, put together again from patches. What no patch has changed is the same object as before, here as there. */
import type { BackendStatus, ServiceTier } from '@marcher/proto/marcher/v1/node_service_pb';
import type {
  BackendView,
  FleetState,
  Flow,
  NodeKey,
  NodeView,
  ObjectOnNode,
  ObjectView,
  ServiceView,
} from '../contract.js';
import { HISTORY_MAX } from '../contract.js';
import { coverageOf } from '../coverage.js';
import { DraftMap } from '../draft-map.js';
import { isSameFlow, NO_FLOW, NO_HISTORY } from '../flow.js';
import { NodeMap, NodeSlots } from '../node-map.js';
import { DRAININGS, HEALTHS } from './differ.js';
import { Cell, History, NO_VALUE, NodeField, ObjectField, PatchReader, type StatePatch, Step, Table } from './patch.js';

const NO_CELLS: readonly undefined[] = [];
const NO_CONDITIONS: ObjectOnNode['unmet'] = Object.freeze([]);

/** Before anything has come. */
export const NOTHING_KNOWN: FleetState = Object.freeze({
  revision: 0,
  atMs: 0,
  mesh: undefined,
  coverage: coverageOf([]),
  nodes: new Map(),
  services: new Map(),
  objects: new Map(),
  backends: new Map(),
  flow: NO_FLOW,
  history: NO_HISTORY,
  configurations: 0,
  paused: false,
});

type ReadCell<V> = (reader: PatchReader, before: V | undefined) => V;

export class StateMirror {
  readonly #nodes = new DraftMap<NodeKey, NodeView>();
  readonly #services = new DraftMap<string, ServiceView>();
  readonly #objects = new DraftMap<string, ObjectView>();
  readonly #backends = new DraftMap<string, BackendView>();
  readonly #names: string[][] = [[], [], [], []];
  #order: readonly NodeKey[] | undefined;
  #slots = new NodeSlots();
  #state = NOTHING_KNOWN;

  get state(): FleetState {
    return this.#state;
  }

  /** True: a state is complete with it. Patches come in the order in which they were made. */
  take(patch: StatePatch): boolean {
    const reader = new PatchReader(patch);
    let isComplete = false;
    while (reader.hasMore) {
      switch (reader.number()) {
        case Step.SLOTS:
          this.#slots = new NodeSlots();
          break;
        case Step.SLOT:
          this.#slots.of(reader.text());
          break;
        case Step.NAME: {
          const names = this.#names[reader.number()] as string[];
          names[reader.number()] = reader.text();
          break;
        }
        case Step.NODE:
          this.#node(reader);
          break;
        case Step.SERVICE:
          this.#service(reader);
          break;
        case Step.OBJECT:
          this.#object(reader);
          break;
        case Step.BACKEND:
          this.#backend(reader);
          break;
        case Step.GONE: {
          const table = reader.number() as Table;
          this.#table(table).delete(this.#name(table, reader));
          break;
        }
        case Step.NODE_ORDER:
          this.#order = Array.from({ length: reader.number() }, () => this.#name(Table.NODES, reader));
          break;
        case Step.STATE:
          this.#complete(reader);
          isComplete = true;
          break;
        default:
          throw new RangeError('a patch of a state has a step that is not known here');
      }
    }
    return isComplete;
  }

  #complete(reader: PatchReader): void {
    const before = this.#state;
    const [revision, atMs, configurations, paused] = [
      reader.number(),
      reader.number(),
      reader.number(),
      reader.number() === 1,
    ];
    const mesh = reader.value<FleetState['mesh']>();
    const coverage = reader.value<FleetState['coverage']>();
    const flow = flowOf(reader, before.flow);
    const history = historyOf(reader, before.history);
    const nodes = this.#order === undefined ? this.#nodes.publish() : this.#nodes.publishInOrder(this.#order);
    this.#order = undefined;
    this.#state = {
      revision,
      atMs,
      mesh: mesh?.id === before.mesh?.id && mesh?.name === before.mesh?.name ? before.mesh : mesh,
      coverage,
      nodes,
      services: this.#services.publish(),
      objects: this.#objects.publish(),
      backends: this.#backends.publish(),
      flow,
      history,
      configurations,
      paused,
    };
  }

  #node(reader: PatchReader): void {
    const key = this.#name(Table.NODES, reader);
    const isEntry = reader.number() === 1;
    const mask = reader.number();
    const before = this.#nodes.get(key) ?? { ...UNKNOWN_NODE, key };
    const has = (bit: number): boolean => (mask & bit) !== 0;
    const name = has(NodeField.NAME) ? reader.value<string>() : before.name;
    const link = has(NodeField.LINK) ? reader.value<NodeView['link']>() : before.link;
    const heardMs = has(NodeField.HEARD) ? optional(reader.number()) : before.heardMs;
    const member = has(NodeField.MEMBER) ? reader.value<NodeView['member']>() : before.member;
    const status = has(NodeField.STATUS) ? reader.value<NodeView['status']>() : before.status;
    const version = has(NodeField.VERSION) ? reader.value<bigint>() : before.version;
    const availability = has(NodeField.AVAILABILITY) ? reader.value<NodeView['availability']>() : before.availability;
    let { flow } = before;
    if (has(NodeField.FLOW)) flow = reader.number() === 1 ? flowOf(reader, flow) : undefined;
    const history = has(NodeField.HISTORY) ? historyOf(reader, before.history) : before.history;
    this.#nodes.set(key, {
      key,
      name,
      isEntry,
      link,
      heardMs,
      member,
      status,
      version,
      availability,
      flow,
      history,
    });
  }

  #service(reader: PatchReader): void {
    const name = this.#name(Table.SERVICES, reader);
    const before = this.#services.get(name);
    const mask = reader.number();
    const has = (bit: number): boolean => (mask & bit) !== 0;
    const declared = has(ObjectField.DECLARED) ? reader.value<ServiceView['declared']>() : before?.declared;
    const agreement = has(ObjectField.AGREEMENT) ? agreementOf(reader) : (before?.agreement ?? 'same');
    const nodes = has(ObjectField.NODES) ? this.#cells(reader, before?.nodes, onNode) : this.#kept(before?.nodes);
    const tiers = has(ObjectField.TIERS)
      ? this.#cells<ServiceTier>(reader, before?.tiers, notInNumbers)
      : this.#kept(before?.tiers);
    const flows = has(ObjectField.FLOWS) ? this.#cells(reader, before?.flows, flowOf) : this.#kept(before?.flows);
    const flow = has(ObjectField.FLOW) ? flowOf(reader, before?.flow) : (before?.flow ?? NO_FLOW);
    const history = has(ObjectField.HISTORY)
      ? historyOf(reader, before?.history ?? NO_HISTORY)
      : (before?.history ?? NO_HISTORY);
    let healthyBackends = before?.healthyBackends ?? 0;
    let mixedBackends = before?.mixedBackends ?? 0;
    let backends = before?.backends ?? 0;
    if (has(ObjectField.BACKENDS)) {
      [healthyBackends, mixedBackends, backends] = [reader.number(), reader.number(), reader.number()];
    }
    this.#services.set(name, {
      kind: 'Service',
      name,
      declared,
      nodes,
      agreement,
      tiers,
      flows,
      flow,
      history,
      healthyBackends,
      mixedBackends,
      backends,
    });
  }

  #object(reader: PatchReader): void {
    const key = this.#name(Table.OBJECTS, reader);
    const before = this.#objects.get(key);
    const mask = reader.number();
    const has = (bit: number): boolean => (mask & bit) !== 0;
    const declared = has(ObjectField.DECLARED) ? reader.value<ObjectView['declared']>() : before?.declared;
    const agreement = has(ObjectField.AGREEMENT) ? agreementOf(reader) : (before?.agreement ?? 'same');
    const nodes = has(ObjectField.NODES) ? this.#cells(reader, before?.nodes, onNode) : this.#kept(before?.nodes);
    const kind = reader.number() === 1 ? 'Guard' : 'TrafficPolicy';
    this.#objects.set(key, { kind, name: key.slice(kind.length + 1), declared, agreement, nodes });
  }

  #backend(reader: PatchReader): void {
    const key = this.#name(Table.BACKENDS, reader);
    const before = this.#backends.get(key);
    const connections = reader.number();
    const health = HEALTHS[reader.number()] ?? 'unknown';
    const draining = DRAININGS[reader.number()] ?? 'no';
    const hasNodes = reader.number() === 1;
    const service = before?.service ?? reader.value<string>();
    const backend = before?.backend ?? reader.value<string>();
    const nodes = hasNodes ? this.#cells(reader, before?.nodes, counted) : this.#kept(before?.nodes);
    this.#backends.set(key, { key, service, backend, nodes, connections, health, draining });
  }

  #cells<V>(reader: PatchReader, before: ReadonlyMap<NodeKey, V> | undefined, read: ReadCell<V>): NodeMap<V> {
    const old = reader.number() === 1 ? (before as NodeMap<V>) : undefined;
    const count = reader.number();
    if (count === 0) return old ?? new NodeMap<V>(this.#slots, NO_CELLS, 0);
    const cells = this.#slots.wide(old?.cells ?? NO_CELLS);
    for (let runs = count; runs > 0; runs--) {
      const from = reader.number();
      const to = from + reader.number();
      while (cells.length < to) cells.push(undefined);
      this.#run(reader, cells, { from, to }, read);
    }
    let size = 0;
    for (const value of cells) if (value !== undefined) size++;
    return new NodeMap(this.#slots, cells, size);
  }

  #run<V>(
    reader: PatchReader,
    cells: (V | undefined)[],
    { from, to }: { readonly from: number; readonly to: number },
    read: ReadCell<V>,
  ): void {
    const kind = reader.number();
    let value: V | undefined;
    if (kind === Cell.VALUE) value = reader.value<V>();
    else if (kind === Cell.LIKE) value = cells[reader.number()];
    else if (kind === Cell.NUMBERS) value = read(reader, cells[from]);
    cells.fill(value, from, to);
  }

  #kept<V>(map: ReadonlyMap<NodeKey, V> | undefined): ReadonlyMap<NodeKey, V> {
    return map ?? new NodeMap<V>(this.#slots, [], 0);
  }

  #name(table: Table, reader: PatchReader): string {
    return this.#names[table]?.[reader.number()] as string;
  }

  #table(table: Table): DraftMap<string, object> {
    const tables = [this.#nodes, this.#services, this.#objects, this.#backends] as const;
    return tables[table] as DraftMap<string, object>;
  }
}

const UNKNOWN_NODE: Omit<NodeView, 'key'> = {
  name: '',
  isEntry: false,
  link: { kind: 'connecting', sinceMs: 0 },
  heardMs: undefined,
  member: undefined,
  status: undefined,
  version: 0n,
  availability: [],
  flow: undefined,
  history: NO_HISTORY,
};

function optional(number: number): number | undefined {
  return number === NO_VALUE ? undefined : number;
}

function agreementOf(reader: PatchReader): 'same' | 'differs' {
  return reader.number() === 1 ? 'same' : 'differs';
}

function flowOf(reader: PatchReader, before: Flow | undefined): Flow {
  const flow = {
    open: reader.number(),
    connections: reader.number(),
    bytesReceived: reader.number(),
    bytesSent: reader.number(),
    packetsReceived: reader.number(),
    packetsSent: reader.number(),
    failures: reader.number(),
  };
  if (isSameFlow(flow, NO_FLOW)) return NO_FLOW;
  return before !== undefined && isSameFlow(before, flow) ? before : flow;
}

function historyOf(reader: PatchReader, before: readonly Flow[]): readonly Flow[] {
  const isAdded = reader.number() === History.ADDED;
  const flows = Array.from({ length: reader.number() }, () => flowOf(reader, undefined));
  if (!isAdded) return flows.length === 0 ? NO_HISTORY : flows;
  return flows.length === 0 ? before : [...before, ...flows].slice(-HISTORY_MAX);
}

const onNode: ReadCell<ObjectOnNode> = (reader) => {
  const number = reader.number();
  const same = reader.number() === 1;
  const generation = number === NO_VALUE ? reader.value<bigint>() : BigInt(number);
  const unmet = reader.value<ObjectOnNode['unmet'] | undefined>() ?? NO_CONDITIONS;
  return { generation, same, unmet };
};

const notInNumbers = (): never => {
  throw new RangeError('a patch of a state has a cell that is not known here');
};

const counted: ReadCell<BackendStatus> = (reader, before) => {
  if (before === undefined) throw new RangeError('a patch of a state counts on from what is not there');
  const connections = BigInt(reader.number());
  const elsewhere = before.elsewhere === undefined ? {} : { elsewhere: BigInt(reader.number()) };
  const endpoints = before.endpoints.map((endpoint) => ({ ...endpoint, connections: BigInt(reader.number()) }));
  return { ...before, connections, ...elsewhere, endpoints };
};
