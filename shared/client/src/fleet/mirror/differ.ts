// SPDX-License-Identifier: Apache-2.0
/** What has become another one since the state before, as patches. States share what has not changed: it is found by identity. */
import type { BackendStatus, EndpointStatus } from '@marcher/proto/marcher/v1/node_service_pb';
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
import { changedEntries, goneKeys } from '../draft-map.js';
import { NodeMap, type NodeSlots } from '../node-map.js';
import { isSameConditions } from '../shared-values.js';
import {
  Cell,
  History,
  NO_VALUE,
  NodeField,
  ObjectField,
  PATCH_NUMBERS,
  PatchWriter,
  type StatePatch,
  Step,
  Table,
} from './patch.js';

const NO_CELLS: readonly undefined[] = [];

type PutCell<V> = (value: V, before: V | undefined) => boolean;

export class StateDiffer {
  readonly #writer = new PatchWriter();
  readonly #names = {
    nodes: new Names(Table.NODES),
    services: new Names(Table.SERVICES),
    objects: new Names(Table.OBJECTS),
    backends: new Names(Table.BACKENDS),
  };
  #slots: NodeSlots | undefined;
  #slotsTold = 0;
  #before: FleetState | undefined;

  /** Of the state that was told last, to this one. Each is to be taken before the next one is made. */
  *patches(state: FleetState): Iterable<StatePatch> {
    const before = this.#before;
    if (state === before) return;
    this.#before = state;
    for (const _ of this.#steps(state, before)) if (this.#writer.length >= PATCH_NUMBERS) yield this.#writer.take();
    yield this.#writer.take();
  }

  /** In pieces. */
  *#steps(state: FleetState, before: FleetState | undefined): Iterable<void> {
    const { nodes, services, objects, backends } = this.#names;
    for (const [key, view] of changedEntries(state.nodes, before?.nodes)) {
      this.#node(nodes.id(key, this.#writer), view, before?.nodes.get(key));
      yield;
    }
    for (const key of goneKeys(state.nodes, before?.nodes)) this.#writer.put(Step.GONE, Table.NODES, nodes.free(key));
    if (!isSameOrder(state.nodes, before?.nodes)) {
      this.#writer.put(Step.NODE_ORDER, state.nodes.size);
      for (const key of state.nodes.keys()) this.#writer.put(nodes.known(key));
    }
    for (const [key, view] of changedEntries(state.services, before?.services)) {
      this.#tellSlots(view.nodes);
      this.#object(Step.SERVICE, services.id(key, this.#writer), view, before?.services.get(key));
      yield;
    }
    for (const key of goneKeys(state.services, before?.services)) {
      this.#writer.put(Step.GONE, Table.SERVICES, services.free(key));
    }
    for (const [key, view] of changedEntries(state.objects, before?.objects)) {
      this.#tellSlots(view.nodes);
      this.#object(Step.OBJECT, objects.id(key, this.#writer), view, before?.objects.get(key));
      yield;
    }
    for (const key of goneKeys(state.objects, before?.objects)) {
      this.#writer.put(Step.GONE, Table.OBJECTS, objects.free(key));
    }
    for (const [key, view] of changedEntries(state.backends, before?.backends)) {
      this.#tellSlots(view.nodes);
      this.#backend(backends.id(key, this.#writer), view, before?.backends.get(key));
      yield;
    }
    for (const key of goneKeys(state.backends, before?.backends)) {
      this.#writer.put(Step.GONE, Table.BACKENDS, backends.free(key));
    }
    this.#state(state, before);
  }

  #state(state: FleetState, before: FleetState | undefined): void {
    const { revision, atMs, mesh, coverage, configurations, paused, flow, history } = state;
    this.#writer.put(Step.STATE, revision, atMs, configurations, Number(paused));
    this.#writer.value(mesh);
    this.#writer.value(coverage);
    this.#flow(flow);
    this.#history(history, before?.history);
  }

  /** Numbers of nodes that were not told yet. */
  #tellSlots(map: ReadonlyMap<NodeKey, unknown>): void {
    if (!(map instanceof NodeMap)) throw new TypeError('a state of another making has come to be told');
    const { slots } = map;
    if (slots !== this.#slots) {
      this.#slots = slots;
      this.#slotsTold = 0;
      this.#writer.put(Step.SLOTS);
    }
    for (; this.#slotsTold < slots.size; this.#slotsTold++) {
      this.#writer.put(Step.SLOT);
      this.#writer.text(slots.keys[this.#slotsTold] as NodeKey);
    }
  }

  #node(id: number, view: NodeView, before: NodeView | undefined): void {
    const writer = this.#writer;
    writer.put(Step.NODE, id, Number(view.isEntry));
    const at = writer.hold();
    let mask = 0;
    const differs = (field: keyof NodeView): boolean => before === undefined || before[field] !== view[field];
    const tell = (bit: number, field: keyof NodeView): void => {
      if (!differs(field)) return;
      mask |= bit;
      writer.value(view[field]);
    };
    tell(NodeField.NAME, 'name');
    tell(NodeField.LINK, 'link');
    if (differs('heardMs')) {
      mask |= NodeField.HEARD;
      writer.put(view.heardMs ?? NO_VALUE);
    }
    tell(NodeField.MEMBER, 'member');
    tell(NodeField.STATUS, 'status');
    tell(NodeField.VERSION, 'version');
    tell(NodeField.AVAILABILITY, 'availability');
    if (differs('flow')) {
      mask |= NodeField.FLOW;
      writer.put(Number(view.flow !== undefined));
      if (view.flow !== undefined) this.#flow(view.flow);
    }
    if (differs('history')) {
      mask |= NodeField.HISTORY;
      this.#history(view.history, before?.history);
    }
    writer.fill(at, mask);
  }

  #object(
    step: number,
    id: number,
    view: ServiceView | ObjectView,
    before: ServiceView | ObjectView | undefined,
  ): void {
    const writer = this.#writer;
    writer.put(step, id);
    const at = writer.hold();
    let mask = 0;
    if (before === undefined || before.declared !== view.declared) {
      mask |= ObjectField.DECLARED;
      writer.value(view.declared);
    }
    if (before?.agreement !== view.agreement) {
      mask |= ObjectField.AGREEMENT;
      writer.put(Number(view.agreement === 'same'));
    }
    if (before?.nodes !== view.nodes) {
      mask |= ObjectField.NODES;
      this.#cells(view.nodes, before?.nodes, this.#putOnNode, isAlikeOnNode);
    }
    if (view.kind === 'Service') mask |= this.#service(view, before?.kind === 'Service' ? before : undefined);
    else writer.put(Number(view.kind === 'Guard'));
    writer.fill(at, mask);
  }

  #service(view: ServiceView, before: ServiceView | undefined): number {
    let mask = 0;
    if (before?.tiers !== view.tiers) {
      mask |= ObjectField.TIERS;
      this.#cells(view.tiers, before?.tiers, this.#putNothing);
    }
    if (before?.flows !== view.flows) {
      mask |= ObjectField.FLOWS;
      this.#cells(view.flows, before?.flows, this.#putFlow);
    }
    if (before?.flow !== view.flow) {
      mask |= ObjectField.FLOW;
      this.#flow(view.flow);
    }
    if (before?.history !== view.history) {
      mask |= ObjectField.HISTORY;
      this.#history(view.history, before?.history);
    }
    if (
      before?.healthyBackends !== view.healthyBackends ||
      before.mixedBackends !== view.mixedBackends ||
      before.backends !== view.backends
    ) {
      mask |= ObjectField.BACKENDS;
      this.#writer.put(view.healthyBackends, view.mixedBackends, view.backends);
    }
    return mask;
  }

  #backend(id: number, view: BackendView, before: BackendView | undefined): void {
    const { connections, health, draining, nodes } = view;
    this.#writer.put(Step.BACKEND, id, connections, HEALTHS.indexOf(health), DRAININGS.indexOf(draining));
    this.#writer.put(Number(before?.nodes !== nodes));
    if (before === undefined) {
      this.#writer.value(view.service);
      this.#writer.value(view.backend);
    }
    if (before?.nodes !== nodes) this.#cells(nodes, before?.nodes, this.#putCounts);
  }

  /** Runs of nodes that have the same now, where it is another than before. */
  #cells<V>(
    next: ReadonlyMap<NodeKey, V>,
    before: ReadonlyMap<NodeKey, V> | undefined,
    put: PutCell<V>,
    isAlike: (a: V, b: V) => boolean = Object.is,
  ): void {
    const writer = this.#writer;
    const { cells, slots } = next as NodeMap<V>;
    const goesOn = before instanceof NodeMap && before.slots === slots;
    const old: readonly (V | undefined)[] = goesOn ? (before as NodeMap<V>).cells : NO_CELLS;
    writer.put(Number(goesOn));
    const count = writer.hold();
    let runs = 0;
    const length = Math.max(cells.length, old.length);
    for (let slot = 0; slot < length; slot++) {
      const value = cells[slot];
      const was = old[slot];
      if (value === was) continue;
      let end = slot + 1;
      while (end < length && cells[end] !== old[end] && isSameCell(cells[end], value, isAlike)) end++;
      writer.put(slot, end - slot);
      // As the mirror has it by now: what is new before this one, and what is old behind it.
      const first = value === undefined ? -1 : cells.indexOf(value);
      const like = first < slot ? first : old.indexOf(value, slot);
      if (value === undefined) writer.put(Cell.NOTHING);
      else if (like >= 0) writer.put(Cell.LIKE, like);
      else if (!put(value, was)) {
        writer.put(Cell.VALUE);
        writer.value(value);
      }
      slot = end - 1;
      runs++;
    }
    writer.fill(count, runs);
  }

  readonly #putNothing: PutCell<unknown> = () => false;

  readonly #putFlow: PutCell<Flow> = (flow) => {
    this.#writer.put(Cell.NUMBERS);
    this.#flow(flow);
    return true;
  };

  readonly #putOnNode: PutCell<ObjectOnNode> = ({ generation, same, unmet }) => {
    const number = Number(generation);
    // Of one that is as large as no version is, the value itself is told.
    this.#writer.put(Cell.NUMBERS, Number.isSafeInteger(number) ? number : NO_VALUE, Number(same));
    if (!Number.isSafeInteger(number)) this.#writer.value(generation);
    this.#writer.value(unmet.length === 0 ? undefined : unmet);
    return true;
  };

  /** Mostly connections alone are others than before. */
  readonly #putCounts: PutCell<BackendStatus> = (status, before) => {
    if (before === undefined || !isSameButCounts(status, before)) return false;
    const { connections, elsewhere, endpoints } = status;
    const counts = [connections, ...(elsewhere === undefined ? [] : [elsewhere]), ...endpoints.map(countOf)].map(
      Number,
    );
    if (!counts.every(Number.isSafeInteger)) return false;
    this.#writer.put(Cell.NUMBERS, ...counts);
    return true;
  };

  #flow({ open, connections, bytesReceived, bytesSent, packetsReceived, packetsSent, failures }: Flow): void {
    this.#writer.put(open, connections, bytesReceived, bytesSent, packetsReceived, packetsSent, failures);
  }

  #history(history: readonly Flow[], before: readonly Flow[] = []): void {
    const added = addedTo(before, history);
    if (added === undefined) this.#writer.put(History.WHOLE, history.length);
    else this.#writer.put(History.ADDED, added);
    for (const each of added === undefined ? history : history.slice(history.length - added)) this.#flow(each);
  }
}

export const HEALTHS: readonly BackendView['health'][] = ['healthy', 'unhealthy', 'mixed', 'unknown'];
export const DRAININGS: readonly BackendView['draining'][] = ['no', 'yes', 'some'];

/** Small numbers for names: a name is sent once. */
class Names {
  readonly #ids = new Map<string, number>();
  readonly #free: number[] = [];
  #next = 0;

  constructor(table: Table) {
    this.#table = table;
  }
  readonly #table: Table;

  /** A new one is told. */
  id(name: string, writer: PatchWriter): number {
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    const id = this.#free.pop() ?? this.#next++;
    this.#ids.set(name, id);
    writer.put(Step.NAME, this.#table, id);
    writer.text(name);
    return id;
  }

  known(name: string): number {
    return this.#ids.get(name) ?? NO_VALUE;
  }

  free(name: string): number {
    const id = this.known(name);
    this.#ids.delete(name);
    this.#free.push(id);
    return id;
  }
}

function isSameOrder(now: ReadonlyMap<string, unknown>, before: ReadonlyMap<string, unknown> | undefined): boolean {
  if (now === before) return true;
  if (now.size !== before?.size) return false;
  const keys = before.keys();
  for (const key of now.keys()) if (keys.next().value !== key) return false;
  return true;
}

/** How many flows the history has more than the one before, of which the first may have gone. undefined: it is another one. */
function addedTo(before: readonly Flow[], history: readonly Flow[]): number | undefined {
  for (let added = 0; added < history.length; added++) {
    const kept = history.length - added;
    const from = before.length - kept;
    const isFull = history.length === HISTORY_MAX;
    if (from < 0 || (from > 0 && !isFull)) continue;
    if (history.slice(0, kept).every((flow, i) => flow === before[from + i])) return added;
  }
  return undefined;
}

function isSameCell<V>(a: V | undefined, b: V | undefined, isAlike: (a: V, b: V) => boolean): boolean {
  return a === b || (a !== undefined && b !== undefined && isAlike(a, b));
}

function isAlikeOnNode(a: ObjectOnNode, b: ObjectOnNode): boolean {
  return a.generation === b.generation && a.same === b.same && isSameConditions(a.unmet, b.unmet);
}

const countOf = ({ connections }: EndpointStatus): bigint => connections;

function isSameButCounts(a: BackendStatus, b: BackendStatus): boolean {
  return (
    a.weight === b.weight &&
    a.draining === b.draining &&
    (a.elsewhere === undefined) === (b.elsewhere === undefined) &&
    a.endpoints.length === b.endpoints.length &&
    a.endpoints.every((endpoint, i) => {
      const other = b.endpoints[i] as EndpointStatus;
      return (
        endpoint.address === other.address &&
        endpoint.health === other.health &&
        endpoint.reason === other.reason &&
        endpoint.ejected === other.ejected
      );
    })
  );
}
