// SPDX-License-Identifier: Apache-2.0
/**
 * What nodes say of the same object, put together. Only what was touched since the last publication is looked at again; a view
 * that comes out as it was is the same object as before.
 */

import type { Object$, Service } from '@marcher/proto/marcher/v1/model_pb';
import type { BackendStatus, ServiceTier } from '@marcher/proto/marcher/v1/node_service_pb';
import type { ObservedObject } from '@marcher/proto/marcher/v1/observe_service_pb';
import { type Agreement, agreementOn, FreshNodes, type HeldObject } from './agreement.js';
import { BackendEntry } from './backend-entry.js';
import type { BackendView, Flow, NodeKey, ObjectView, ServiceView } from './contract.js';
import { DraftMap } from './draft-map.js';
import { addFlow, NO_FLOW, NO_HISTORY, settledFlow, withFlow } from './flow.js';
import { NodeDraft, type NodeMap, NodeSlots } from './node-map.js';
import { isSameConditions, isSameTier, sharedTier, sharedValue } from './shared-values.js';

export interface Merged {
  readonly services: ReadonlyMap<string, ServiceView>;
  readonly objects: ReadonlyMap<string, ObjectView>;
  readonly backends: ReadonlyMap<string, BackendView>;
}

/** An object with what nodes have of it. Whole nodes are those that say what it declares. */
class ObjectEntry<Declared> {
  /** "Kind/name" */
  readonly key: string;
  readonly name: string;
  readonly nodes: NodeDraft<HeldObject>;
  readonly declared = new Map<NodeKey, Declared>();
  /** What was said last, and what it is kept as. */
  #said: ObservedObject | undefined;
  #held: HeldObject | undefined;
  /** As it was found last. undefined: to be found again. */
  #agreement: Agreement['agreement'] | undefined;
  /** What was chosen last: also when who said it has it no more, it is what others with its digest declare. */
  #last: { readonly digest: string; readonly declared: Declared } | undefined;

  constructor(slots: NodeSlots, key: string, name: string) {
    this.nodes = new NodeDraft(slots);
    this.key = key;
    this.name = name;
  }

  /** Another node has it, or has another; or others are heard. */
  doubt(): void {
    this.#agreement = undefined;
  }

  /** Whether the node had none. */
  set(node: NodeKey, object: ObservedObject, declared: Declared | undefined): boolean {
    this.doubt();
    const before = this.nodes.get(node);
    const held = this.#heldAs(object, before?.same ?? true);
    if (declared !== undefined && (before?.digest !== held.digest || !this.declared.has(node)))
      this.declared.set(node, declared);
    if (before === undefined || !isSameHeld(before, held)) this.nodes.set(node, held);
    return before === undefined;
  }

  /** Whether the node had one. */
  drop(node: NodeKey): boolean {
    this.doubt();
    this.declared.delete(node);
    return this.nodes.delete(node);
  }

  /** Most nodes hold it in the same way, which is one value then. */
  #heldAs(object: ObservedObject, same: boolean): HeldObject {
    // The same bytes of another node were decoded to the same object.
    if (object === this.#said && same === this.#held?.same) return this.#held;
    const unmet = object.unmet.length === 0 ? NONE : object.unmet;
    const held = { generation: object.generation, same, unmet, digest: hex(object.digest) };
    this.#said = object;
    this.#held = sharedValue(held, this.nodes.cells, isSameHeld);
    return this.#held;
  }

  /** Marks which nodes have what most have. */
  agree(fresh: FreshNodes, cluster: string | undefined): Agreement['agreement'] {
    if (this.#agreement !== undefined) return this.#agreement;
    const { cells } = this.nodes;
    const { agreement, digest } = agreementOn(cells, fresh, cluster);
    let [from, to]: (HeldObject | undefined)[] = [];
    for (let slot = 0; slot < cells.length; slot++) {
      const held = cells[slot];
      if (held === undefined) continue;
      const same = held.digest === digest;
      if (held.same === same) continue;
      // What several have in the same way becomes one value again.
      if (held !== from || to === undefined) [from, to] = [held, { ...held, same }];
      this.nodes.put(slot, to);
    }
    this.#agreement = agreement;
    return agreement;
  }

  /** As the entry has it while that is heard; else as another does that is; else as it was said last. */
  chosen(fresh: FreshNodes): Declared | undefined {
    const node = this.#chosenNode(fresh);
    if (node !== undefined) {
      const declared = this.declared.get(node);
      const digest = this.nodes.get(node)?.digest;
      if (declared !== undefined && digest !== undefined && this.#last?.declared !== declared) {
        this.#last = { digest, declared };
      }
      return declared;
    }
    for (const held of this.nodes.cells) {
      if (held !== undefined && held.digest === this.#last?.digest) return this.#last.declared;
    }
    return undefined;
  }

  #chosenNode(fresh: FreshNodes): NodeKey | undefined {
    const { entry } = fresh;
    if (entry !== undefined && fresh.has(entry) && this.declared.has(entry)) return entry;
    let first: NodeKey | undefined;
    for (const node of this.declared.keys()) {
      if (fresh.has(node)) return node;
      first ??= node;
    }
    return entry !== undefined && this.declared.has(entry) ? entry : first;
  }
}

class ServiceEntry extends ObjectEntry<Service> {
  readonly tiers: NodeDraft<ServiceTier>;
  readonly flows: NodeDraft<Flow>;
  /** By name. */
  readonly backends = new Map<string, BackendEntry>();
  view: ServiceView | undefined;

  constructor(slots: NodeSlots, name: string) {
    super(slots, SERVICE + name, name);
    this.tiers = new NodeDraft(slots);
    this.flows = new NodeDraft(slots);
  }

  get isEmpty(): boolean {
    return this.nodes.size + this.tiers.size + this.flows.size + this.backends.size === 0;
  }
}

class OtherEntry extends ObjectEntry<Object$> {
  readonly kind: ObjectView['kind'];
  view: ObjectView | undefined;

  constructor(slots: NodeSlots, kind: ObjectView['kind'], name: string) {
    super(slots, `${kind}/${name}`, name);
    this.kind = kind;
  }
}

/** One node, and of how much it has said something: what that is stands with what others have said of the same. */
export class Holding {
  readonly node: NodeKey;
  objects = 0;
  tiers = 0;
  backends = 0;

  constructor(node: NodeKey) {
    this.node = node;
  }
}

const SERVICE = 'Service/';
const NONE: readonly never[] = Object.freeze([]);
/** Numbers of nodes that have gone, beyond as many as there are nodes. */
const SPARE_SLOTS = 64;

export class Merge {
  readonly #services = new Map<string, ServiceEntry>();
  readonly #others = new Map<string, OtherEntry>();
  readonly #backends = new Map<string, BackendEntry>();
  readonly #touchedServices = new Set<ServiceEntry>();
  readonly #touchedOthers = new Set<OtherEntry>();
  #hasTurned = false;
  readonly #touchedBackends = new Set<BackendEntry>();
  readonly #serviceViews = new DraftMap<string, ServiceView>();
  readonly #objectViews = new DraftMap<string, ObjectView>();
  readonly #backendViews = new DraftMap<string, BackendView>();
  #watched: ReadonlySet<string> = new Set();
  #slots = new NodeSlots();
  #fresh = new FreshNodes(this.#slots, [], undefined);

  /** Of these services alone a history is kept. */
  watch(services: ReadonlySet<string>): void {
    for (const name of [...this.#watched, ...services]) this.#touch(name);
    this.#watched = services;
  }

  /** Who is heard, which clusters each holds, and which is the entry: all is looked at again. */
  setFresh(nodes: Iterable<readonly [NodeKey, readonly string[]]>, entry: NodeKey | undefined): void {
    this.#fresh = new FreshNodes(this.#slots, nodes, entry);
    this.#touchAll();
  }

  /** So many nodes are known: numbers of those that are not any more are taken back when they are the most. */
  keepNodes(known: number): void {
    if (this.#slots.size <= 2 * known + SPARE_SLOTS) return;
    this.#slots = new NodeSlots();
    this.#fresh = this.#fresh.renumbered(this.#slots);
    for (const { nodes, tiers, flows } of this.#services.values()) {
      for (const draft of [nodes, tiers, flows]) draft.renumber(this.#slots);
    }
    for (const { nodes } of this.#others.values()) nodes.renumber(this.#slots);
    for (const { nodes } of this.#backends.values()) nodes.renumber(this.#slots);
    this.#touchAll();
  }

  #touchAll(): void {
    for (const service of this.#services.values()) {
      service.doubt();
      this.#touchedServices.add(service);
    }
    for (const other of this.#others.values()) {
      other.doubt();
      this.#touchedOthers.add(other);
    }
    for (const backend of this.#backends.values()) this.#touchedBackends.add(backend);
  }

  /** Gives its key, "Kind/name". undefined: of a kind that is not known here. */
  setObject(holding: Holding, object: ObservedObject): string | undefined {
    const { node } = holding;
    const { kind, name, declared } = object;
    if (kind === 'Service') {
      const service = this.#service(name);
      if (service.set(node, object, declared.case === 'service' ? declared.value : undefined)) holding.objects++;
      this.#touchedServices.add(service);
      return service.key;
    }
    if (kind !== 'Guard' && kind !== 'TrafficPolicy') return undefined;
    const key = `${kind}/${name}`;
    let other = this.#others.get(key);
    if (other === undefined) {
      other = new OtherEntry(this.#slots, kind, name);
      this.#others.set(key, other);
    }
    if (other.set(node, object, declared.case === 'object' ? declared.value : undefined)) holding.objects++;
    this.#touchedOthers.add(other);
    return other.key;
  }

  /** By its key. */
  dropObject(holding: Holding, key: string): void {
    if (key.startsWith(SERVICE)) {
      const service = this.#services.get(key.slice(SERVICE.length));
      if (service?.drop(holding.node) !== true) return;
      this.#touchedServices.add(service);
    } else {
      const other = this.#others.get(key);
      if (other?.drop(holding.node) !== true) return;
      this.#touchedOthers.add(other);
    }
    holding.objects--;
  }

  /** Gives the service's name: one text for all nodes. */
  setTier(holding: Holding, tier: ServiceTier): string {
    const { node } = holding;
    const service = this.#service(tier.service);
    const before = service.tiers.get(node);
    if (before === undefined) holding.tiers++;
    if (before === undefined || !isSameTier(before, tier)) {
      service.tiers.set(node, sharedTier(tier, service.tiers.cells));
      this.#touchedServices.add(service);
    }
    return service.name;
  }

  /** Whether there was one. */
  dropTier(holding: Holding, name: string): boolean {
    if (this.#services.get(name)?.tiers.delete(holding.node) !== true) return false;
    holding.tiers--;
    this.#touch(name);
    return true;
  }

  /** The same text for the same service, whichever node names it. A flow is set next. */
  nameOf(service: string): string {
    return this.#service(service).name;
  }

  /** undefined: nothing is known of it any more. */
  setFlow({ node }: Holding, name: string, flow: Flow | undefined): void {
    const service = this.#service(name);
    const changed = flow === undefined ? service.flows.delete(node) : service.flows.set(node, flow);
    // An empty one goes when it is published: until then it may be named again.
    if (changed || service.isEmpty) this.#touchedServices.add(service);
  }

  /** Gives its key, "service/backend". */
  setBackend(holding: Holding, status: BackendStatus): string {
    // By two names that have been looked for before: a text that is put together each time is found more slowly.
    let backend = this.#services.get(status.service)?.backends.get(status.backend);
    if (backend === undefined) {
      const service = this.#service(status.service);
      const key = `${service.name}/${status.backend}`;
      backend = new BackendEntry(this.#slots, key, service.name, status.backend);
      this.#backends.set(key, backend);
      service.backends.set(status.backend, backend);
      this.#touchedServices.add(service);
    }
    const change = backend.set(holding.node, status);
    if (change === 'new') holding.backends++;
    if (change !== 'same') this.#touchedBackends.add(backend);
    if (change === 'turned' && backend.isOtherwise(this.#fresh)) this.#hasTurned = true;
    return backend.key;
  }

  dropBackend(holding: Holding, key: string): void {
    const backend = this.#backends.get(key);
    if (backend?.nodes.delete(holding.node) !== true) return;
    holding.backends--;
    this.#touchedBackends.add(backend);
  }

  /** Keys of what the node has. A key for each node that has it would be most of what is kept of many nodes. */
  *objectsOf({ node }: Holding): Iterable<string> {
    for (const entry of this.#services.values()) if (entry.nodes.get(node) !== undefined) yield entry.key;
    for (const entry of this.#others.values()) if (entry.nodes.get(node) !== undefined) yield entry.key;
  }

  *tiersOf({ node }: Holding): Iterable<string> {
    for (const { name, tiers } of this.#services.values()) if (tiers.get(node) !== undefined) yield name;
  }

  *backendsOf({ node }: Holding): Iterable<string> {
    for (const { key, nodes } of this.#backends.values()) if (nodes.get(node) !== undefined) yield key;
  }

  /** A backend's health, or whether it is drained, is another one than was published. */
  get hasTurned(): boolean {
    return this.#hasTurned;
  }

  publish(): Merged {
    this.#hasTurned = false;
    for (const backend of this.#touchedBackends) this.#publishBackend(backend);
    this.#touchedBackends.clear();
    for (const service of this.#touchedServices) this.#publishService(service);
    this.#touchedServices.clear();
    for (const other of this.#touchedOthers) this.#publishOther(other);
    this.#touchedOthers.clear();
    return {
      services: this.#serviceViews.publish(),
      objects: this.#objectViews.publish(),
      backends: this.#backendViews.publish(),
    };
  }

  #service(name: string): ServiceEntry {
    let service = this.#services.get(name);
    if (service === undefined) {
      service = new ServiceEntry(this.#slots, name);
      this.#services.set(name, service);
    }
    return service;
  }

  #touch(name: string): void {
    const service = this.#services.get(name);
    if (service !== undefined) this.#touchedServices.add(service);
  }

  #publishBackend(backend: BackendEntry): void {
    const before = backend.view;
    const view = backend.publish(this.#fresh);
    // One that came and went between two publications was never seen, and is counted all the same until it is gone here.
    if (view === before && view !== undefined) return;
    if (view === undefined) {
      this.#backends.delete(backend.key);
      this.#backendViews.delete(backend.key);
      this.#services.get(backend.service)?.backends.delete(backend.backend);
    } else {
      this.#backendViews.set(backend.key, view);
    }
    if (view === undefined || view.health !== before?.health) this.#touch(backend.service);
  }

  #publishService(entry: ServiceEntry): void {
    const view = entry.nodes.size === 0 ? undefined : this.#viewOf(entry);
    if (view === undefined && entry.isEmpty) this.#services.delete(entry.name);
    if (view === entry.view) return;
    entry.view = view;
    if (view === undefined) this.#serviceViews.delete(entry.name);
    else this.#serviceViews.set(entry.name, view);
  }

  #viewOf(entry: ServiceEntry): ServiceView {
    const { name, view: before } = entry;
    const declared = entry.chosen(this.#fresh);
    const agreement = entry.agree(this.#fresh, declared?.cluster);
    const nodes = entry.nodes.publish();
    const tiers = entry.tiers.publish();
    const flows = entry.flows.publish();
    const flow = settledFlow(before?.flow ?? NO_FLOW, this.#sumOf(flows));
    let healthyBackends = 0;
    let mixedBackends = 0;
    for (const backend of entry.backends.values()) {
      const health = backend.view?.health;
      if (health === 'healthy' || health === 'mixed') healthyBackends++;
      if (health === 'mixed') mixedBackends++;
    }
    const backends = entry.backends.size;
    let history = before?.history ?? NO_HISTORY;
    if (!this.#watched.has(name)) history = NO_HISTORY;
    else if (flow !== before?.flow || history.length === 0) history = withFlow(history, flow);
    if (
      before !== undefined &&
      before.declared === declared &&
      before.nodes === nodes &&
      before.agreement === agreement &&
      before.tiers === tiers &&
      before.flows === flows &&
      before.flow === flow &&
      before.history === history &&
      before.healthyBackends === healthyBackends &&
      before.mixedBackends === mixedBackends &&
      before.backends === backends
    ) {
      return before;
    }
    return {
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
    };
  }

  /** Of nodes that are live. */
  #sumOf({ cells }: NodeMap<Flow>): Flow {
    const sum = { ...NO_FLOW };
    for (let slot = 0; slot < cells.length; slot++) {
      const flow = cells[slot];
      if (flow !== undefined && this.#fresh.hasSlot(slot)) addFlow(sum, flow);
    }
    return sum;
  }

  #publishOther(entry: OtherEntry): void {
    const { key, kind, name, view: before } = entry;
    if (entry.nodes.size === 0) {
      this.#others.delete(key);
      this.#objectViews.delete(key);
      return;
    }
    const declared = entry.chosen(this.#fresh);
    const agreement = entry.agree(this.#fresh, declared?.object.value?.cluster);
    const nodes = entry.nodes.publish();
    if (before?.declared === declared && before?.nodes === nodes && before.agreement === agreement) return;
    entry.view = { kind, name, declared, nodes, agreement };
    this.#objectViews.set(key, entry.view);
  }
}

function isSameHeld(a: HeldObject, b: HeldObject): boolean {
  return (
    a.digest === b.digest && a.generation === b.generation && a.same === b.same && isSameConditions(a.unmet, b.unmet)
  );
}

function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}
