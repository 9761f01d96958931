// SPDX-License-Identifier: Apache-2.0
/**
 * The configuration use cases. Order of an apply (docs/decisions/0002-apply-order.md):
 *
 *   validate and compile ──▶ commit, pending (durable) ──▶ data plane ──▶ confirm ──▶ tell the watchers
 *                                                            │ refuses or can't be reached
 *                                                            └──▶ undo: as if nothing had been
 *
 * So the engine never runs what the store could not give it again, and a crash at any point leaves a store that the
 * next start brings the engine to.
 */
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { RECORD_LIMITS } from '@marcher/audit';
import { type Kind, type Object$, ObjectKeySchema, type ObjectKind } from '@marcher/model';
import {
  ApplyTimingSchema,
  ChangeSchema,
  type Condition,
  ConditionSchema,
  type ObjectDiff,
  ObjectDiffSchema,
  type ObjectResource,
  ObjectResourceSchema,
  Operation,
  type Revision,
  RevisionSchema,
  type ServiceResource,
  ServiceResourceSchema,
  ViolationSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { ACTION } from '../domain/audit/actions.js';
import { diffObjects, diffServices } from '../domain/diff.js';
import type { Claim } from '../domain/port-ownership.js';
import { unsteerable } from '../domain/steering.js';
import type { AuditTrail, Told } from '../ports/audit.js';
import type { Changed, CommitChange, ConfigStore, NewRevision, StoredObject } from '../ports/config-store.js';
import {
  type Acks,
  ApplicationError,
  type ApplyOptions,
  type ApplyResult,
  type Caller,
  type ConfigUseCases,
  type PlanResult,
  type RequestedChange,
  type RevertOptions,
  type WatchEvent,
} from '../ports/use-cases.js';
import { ConfigurationIndex, type Inventory, type PreparedChange } from './change-preparation.js';
import { CurrentObjects } from './current-objects.js';
import { Follower, type Project } from './mesh/follower.js';
import type { Replicated, Written } from './mesh/replication.js';
import { unpackObject } from './object-codec.js';
import type { Declared, ObservedConfiguration } from './observe/sources.js';
import type { PacketStanding } from './packet-forwarding.js';
import { checkPermitted } from './permission.js';
import type { Outcome, Programming } from './programming.js';
import { SerialQueue } from './serial-queue.js';
import { unpackService } from './service-codec.js';
import { guarded, unavailable } from './unavailable.js';
import { WatchHub, type WatchOptions } from './watch-hub.js';

export interface ConfigurationLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface ConfigurationOptions {
  readonly store: ConfigStore;
  readonly programming: Programming;
  readonly log: ConfigurationLog;
  readonly nowMs: () => number;
  /** File or directory that owns the configuration: changes from elsewhere are refused. */
  readonly owner?: string | undefined;
  readonly watch?: WatchOptions;
  /** After every version that came into force, with the number of services that changed. */
  readonly onVersion?: (changed: number) => void;
  /** After the whole configuration was compiled and handed over anew. */
  readonly onProgrammed?: (services: number) => void;
  /** Awaited after a change is in force in the engine, before its caller is told: the packet tiers follow. */
  readonly onApplied?: () => Promise<void>;
  /** How a service that asks for a packet tier is there, as of this generation of it. */
  readonly packetStanding?: (name: string, generation: bigint) => PacketStanding;
  /** The store never had a configuration, and the packet tiers carry services. */
  readonly packetsHeld?: () => boolean;
  /** The mesh that this node is in; undefined: none. */
  readonly replicated?: () => Replicated | undefined;
  /** Told of each change in its transaction. Absent: nobody is. */
  readonly audit?: AuditTrail;
  /** Of an object that is not a service: whether what it says is in force. Absent: nobody says. */
  readonly objectStanding?: (kind: ObjectKind, name: string, generation: bigint) => ObjectStanding | undefined;
}

/** For a Programmed condition. */
export interface ObjectStanding {
  readonly status: boolean;
  /** CamelCase. */
  readonly reason: string;
  readonly message: string;
}

/** More are not diffed in one answer: nobody reads them, and each holds both sides decoded. */
const DIFFS_MAX = 1_000;

/** Any version would end that: then services that still run are ones that nobody wants. */
const LOST =
  'the configuration of this node was lost, and what it still runs would be taken down: apply the whole configuration, with its services, first';

export class Configuration implements ConfigUseCases {
  readonly #store: ConfigStore;
  readonly #programming: Programming;
  readonly #log: ConfigurationLog;
  readonly #options: ConfigurationOptions;
  /** Guards and traffic policies that are in force by the store. */
  readonly objects: CurrentObjects;
  readonly #index: ConfigurationIndex;
  readonly #follower: Follower;
  readonly #hub: WatchHub;
  readonly #queue = new SerialQueue();
  /** A version that was refused and could not be taken back, because the store failed: what is audited when it is. */
  #undoPending: Told | undefined;
  /** Why the engine refuses the stored configuration; said once, and tried every second. */
  #refusal = '';

  constructor(options: ConfigurationOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#programming = options.programming;
    this.#log = options.log;
    this.#index = new ConfigurationIndex(options.store, () => options.programming.steering.on);
    this.objects = new CurrentObjects(options.store);
    const { programming, nowMs } = options;
    this.#follower = new Follower({ store: options.store, programming, index: this.#index, nowMs });
    const store = this.#store;
    this.#hub = new WatchHub(
      {
        get version() {
          return store.version;
        },
        get: (name) => this.get(name),
        *names() {
          try {
            yield* store.names();
          } catch (error) {
            throw unavailable(error);
          }
        },
        object: ({ kind, name }) => {
          const stored = guarded(() => store.object(kind, name));
          return stored && this.#objectResource(stored);
        },
        objectNames: () => guarded(() => store.objects()),
        changedSince: (version) => guarded(() => store.changedSince(version)),
      },
      options.watch,
    );
  }

  get version(): bigint {
    return this.#store.version;
  }

  get inventory(): Inventory {
    return this.#index.inventory;
  }

  /** Reads what is stored. Called once, before anything else. */
  load(): void {
    this.#index.load();
  }

  has(name: string): boolean {
    return this.#index.has(name);
  }

  /** Names of the services that ask for a packet tier. */
  get packetServices(): ReadonlySet<string> {
    return this.#index.packets;
  }

  /** Names of the services whose listeners depend on what else this node has than the engine. */
  get carriedServices(): ReadonlySet<string> {
    return new Set([...this.#index.packets, ...this.#index.steered]);
  }

  /** Names of the services that are balanced by what all nodes of the mesh have open. */
  get meshLoadServices(): ReadonlySet<string> {
    return this.#index.meshLoad;
  }

  /** What each service listens on. */
  claims(): Iterable<[service: string, claims: readonly Claim[]]> {
    return this.#index.claims();
  }

  /** Names of the services that name a traffic policy. */
  servicesNaming(policy: string): ReadonlySet<string> {
    return this.#index.naming(policy);
  }

  /** The packet tier came or went: the engine is told anew whether to listen for the services that ask for it. */
  recarry(): Promise<void> {
    return this.#queue.run(async () => {
      // Out of step, it is told of everything by the next reconciliation.
      if (this.#index.packets.size === 0 || !this.#programming.inStep) return;
      try {
        if ((await this.#programming.packetDelta(false).send(true))?.accepted === true) {
          this.#programming.record(this.#store.version);
          this.#hub.changed({ services: [...this.#index.packets] });
          return;
        }
        this.#programming.forget('the engine did not take the services that the packet tier carries or carried');
      } catch (error) {
        this.#programming.forget(error instanceof Error ? error.message : String(error));
      }
    });
  }

  /** Called now and then: the engine may have restarted, or a store that failed may work again. */
  reconcile(): Promise<void> {
    return this.#queue.run(() => this.#reconcile());
  }

  async #reconcile(): Promise<void> {
    if (this.#undoPending !== undefined) {
      this.#undo(this.#undoPending);
      this.#undoPending = undefined;
    }
    let result: Awaited<ReturnType<Programming['reconcile']>>;
    const unbound = [...this.#programming.unboundServices.keys()];
    try {
      result = await this.#programming.reconcile();
    } catch (error) {
      this.#programming.forget(error instanceof Error ? error.message : String(error));
      throw error;
    }
    if (result === 'unchanged') {
      // It came to the engine with a drain, before this had its turn.
      if (this.#programming.inStep) this.#confirmStored();
      return;
    }
    if (result === 'refused' && this.#store.pendingVersion !== 0n) {
      const version = this.#store.pendingVersion;
      this.#log.warn({ version, reason: this.#programming.failure }, 'taking back a version that was not in force yet');
      this.#undo({
        ...{ action: ACTION.takeBack, by: { author: 'marcherd' }, version, message: this.#programming.failure },
        ...touched(this.#store.changesOf(version)),
      });
      this.#index.load();
      result = await this.#programming.reconcile();
    }
    if (result === 'refused') {
      const { failure } = this.#programming;
      if (failure !== this.#refusal) {
        this.#log.error({ reason: failure }, 'the data plane refuses the stored configuration; trying again');
      }
      this.#refusal = failure;
      return;
    }
    this.#refusal = '';
    this.#confirmStored();
    this.#programming.record(this.#store.version);
    this.#log.info({ version: this.#store.version, result, ...this.#index.inventory }, 'data plane is in step');
    this.#hub.changed({ services: [...unbound, ...this.#programming.unboundServices.keys()] });
    if (result === 'programmed') this.#options.onProgrammed?.(this.#index.inventory.services);
  }

  plan(change: RequestedChange, caller?: Caller): Promise<PlanResult> {
    return this.#queue.run(() => {
      const prepared = guarded(() => this.#index.prepare(change));
      const version = this.#store.version;
      if ('violations' in prepared) return { version, diffs: [], violations: prepared.violations };
      prepared.reject();
      checkPermitted(caller, prepared.changes);
      return { version, diffs: diffs(prepared.changes), violations: [] };
    });
  }

  apply(change: RequestedChange, options: ApplyOptions, caller: Caller): Promise<ApplyResult> {
    const { owner } = this.#options;
    if (owner !== undefined && caller.origin !== 'file') {
      const message = `the configuration of this node comes from ${owner}: change it there, or start the agent without --config`;
      this.#options.audit?.denied({ action: actionOf(caller), by: caller, message });
      return Promise.reject(new ApplicationError('refused', message));
    }
    const unaskable = this.#unaskable(options.acks);
    if (unaskable !== undefined) return Promise.reject(new ApplicationError('refused', unaskable));
    return this.#applyAndFollow(change, options, caller);
  }

  #checkPermitted(caller: Caller, changes: readonly CommitChange[]): void {
    try {
      checkPermitted(caller, changes);
    } catch (error) {
      const told = { action: actionOf(caller), by: caller, message: textOf(error), ...touched(changes) };
      this.#options.audit?.denied(told);
      throw error;
    }
  }

  /** Why so many will never acknowledge a change. */
  #unaskable(acks: Acks | undefined): string | undefined {
    if (acks === undefined) return undefined;
    const others = this.#replicated?.others();
    if (others === undefined)
      return 'this node is in no mesh, so nobody else can acknowledge a change: leave out min_acks';
    return tooMany(acks, others, 'the mesh');
  }

  /** Who is in no cluster of the change never hears of it. */
  #checkAskable(acks: Acks | undefined, changes: readonly CommitChange[]): void {
    if (acks === undefined || this.#replicated === undefined) return;
    const fault = tooMany(acks, this.#replicated.others(changes), 'the cluster');
    if (fault !== undefined) throw new ApplicationError('refused', fault);
  }

  async #applyAndFollow(change: RequestedChange, options: ApplyOptions, caller: Caller): Promise<ApplyResult> {
    const hadPackets = this.#index.packets.size > 0;
    let objects = false;
    let written: readonly Written[] | undefined;
    const result = await this.#queue.run(() => {
      return this.#apply(change, options, caller, (changed, asWritten) => {
        objects = changed.objects.length > 0;
        written = asWritten;
      });
    });
    // Not in the queue: nobody else has to wait for it.
    const packets = hadPackets || this.#index.packets.size > 0;
    if (result.changed && (packets || objects)) await this.#options.onApplied?.();
    if (written === undefined || options.acks === undefined) return result;
    const acks = await this.#replicated?.acknowledged(written, options.acks.count, options.acks.timeoutMs);
    return { ...result, acks: acks ?? 0 };
  }

  async #apply(
    change: RequestedChange,
    options: ApplyOptions,
    caller: Caller,
    onChanged: (changed: Changed, written: readonly Written[] | undefined) => void,
  ): Promise<ApplyResult> {
    this.#checkVersion(options.expectedVersion);
    if (this.#undoPending !== undefined)
      throw new ApplicationError('unavailable', 'the store cannot be written: see the status of the node');
    const delta = this.#programming.inStep ? this.#programming.delta() : undefined;
    const prepared = guarded(() =>
      this.#index.prepare(change, delta && ((service, policy) => delta.service(service, policy))),
    );
    if ('violations' in prepared) {
      const count = prepared.violations.length;
      throw new ApplicationError(
        'invalid',
        `the change has ${count} ${count === 1 ? 'mistake' : 'mistakes'}`,
        prepared.violations,
      );
    }
    const { changes } = prepared;
    const timing = create(ApplyTimingSchema, { validateMs: prepared.validateMs, compileMs: prepared.compileMs });
    if (changes.length === 0) {
      prepared.reject();
      return { version: this.#store.version, changed: false, diffs: [], timing, acks: 0 };
    }
    if (!prepared.concernsServices && (this.#programming.holding || this.#options.packetsHeld?.())) {
      prepared.reject();
      throw new ApplicationError('refused', LOST);
    }
    try {
      this.#checkPermitted(caller, changes);
      this.#replicated?.check(changes);
      this.#checkAskable(options.acks, changes);
    } catch (error) {
      prepared.reject();
      throw error;
    }
    const base = this.#store.version;
    const { message } = options;
    const told: Told = { action: actionOf(caller), by: caller, version: base + 1n, message, ...touched(changes) };
    const before = performance.now();
    try {
      this.#store.commit(
        { timeMs: this.#options.nowMs(), author: caller.author, origin: caller.origin, message },
        changes,
        () => this.#options.audit?.record('done', told),
        // In a mesh the frame that follows brings it to the disk, and then nobody waits for that twice.
        { durable: this.#replicated === undefined },
      );
    } catch (error) {
      prepared.reject();
      throw unavailable(error);
    }
    const stored = performance.now();
    timing.storeMs = stored - before;
    // The engine knows the other kinds by what services make of them: without a service it need not be there.
    if (prepared.concernsServices) await this.#program(prepared, delta, told);
    timing.programMs = performance.now() - stored;

    let written: readonly Written[] | undefined;
    try {
      written = this.#confirm({ author: caller.author, message }, changes);
    } catch (error) {
      // Nobody else will have it, so neither may the data plane.
      this.#programming.forget('a change that could not be written for the mesh is being taken back');
      this.#takeBack(prepared, { ...told, message: textOf(error) });
      await this.#reconcile().catch(() => undefined);
      throw unavailable(error);
    }
    prepared.accept();
    if (prepared.concernsServices) this.#programming.record(this.#store.version);
    else this.#programming.carryOver(base, this.#store.version);
    this.#dropStaleDrains(changes);
    const changed = namesOf(changes);
    this.#hub.changed(changed);
    onChanged(changed, written);
    this.#options.onVersion?.(changes.length);
    const version = this.#store.version;
    this.#log.info(
      { version, changed: changes.length, author: caller.author, origin: caller.origin },
      'configuration changed',
    );
    return { version, changed: true, diffs: options.omitDiff ? [] : diffs(changes), timing, acks: 0 };
  }

  get #replicated(): Replicated | undefined {
    return this.#options.replicated?.();
  }

  /** The data plane runs the pending version: it is this node's, and in a mesh all others' from now on. */
  #confirm(
    revision: Pick<NewRevision, 'author' | 'message'>,
    changes: readonly CommitChange[],
  ): readonly Written[] | undefined {
    const replicated = this.#replicated;
    let written: readonly Written[] | undefined;
    if (replicated === undefined) this.#store.confirm();
    else {
      this.#store.confirm((write) => {
        written = replicated.record(revision, changes, write);
      });
    }
    return written;
  }

  /** A version that an earlier agent has left pending is in force: those that came from the mesh are there already. */
  #confirmStored(): void {
    const version = this.#store.pendingVersion;
    if (version === 0n) return;
    const revision = this.#replicated && this.#store.revisions({ limit: 1, beforeVersion: version + 1n })[0];
    if (revision === undefined || revision.origin === 'mesh') this.#store.confirm();
    else this.#confirm(revision, this.#replicated?.recordable(this.#store.changesOf(version)) ?? []);
  }

  /**
   * What the mesh has made of the configuration comes into force: nobody is there to be refused, so the data plane is told
   * until it agrees. project() is asked when it is its turn, for everything where a part can't tell.
   */
  async follow(project: Project): Promise<void> {
    const hadPackets = this.#index.packets.size > 0;
    const followed = await this.#queue.run(() => this.#follow(project));
    const objects = followed.some(({ kind }) => kind !== 'Service');
    if (objects || (followed.length > 0 && (hadPackets || this.#index.packets.size > 0))) {
      await this.#options.onApplied?.();
    }
  }

  async #follow(project: Project): Promise<readonly CommitChange[]> {
    if (this.#undoPending !== undefined || this.#store.pendingVersion !== 0n) await this.#reconcile();
    const { changes, author } = await this.#follower.follow(project);
    if (changes.length === 0) return changes;
    this.#dropStaleDrains(changes);
    this.#hub.changed(namesOf(changes));
    this.#options.onVersion?.(changes.length);
    const { version } = this.#store;
    this.#log.info({ version, changed: changes.length, author, origin: 'mesh' }, 'configuration changed');
    return changes;
  }

  /** The change is in force whether or not this works; what stays is looked at again with the service's next change. */
  #dropStaleDrains(changes: readonly CommitChange[]): void {
    try {
      for (const { kind, name, after } of changes) {
        if (kind === 'Service') this.#programming.dropStaleDrains(name, after);
      }
    } catch (error) {
      this.#log.warn({ reason: String(error) }, 'drains of backends that have gone could not be forgotten');
    }
  }

  /** Hands a committed change to the data plane, or takes it back and throws. */
  async #program(
    prepared: PreparedChange,
    delta: ReturnType<Programming['delta']> | undefined,
    told: Told,
  ): Promise<void> {
    const changes = prepared.changes.filter(({ kind }) => kind === 'Service');
    let outcome: Outcome | undefined;
    try {
      if (delta !== undefined) {
        for (const { name, after } of changes) if (after === undefined) delta.removed(name);
        outcome = await delta.send(false);
      }
      if (outcome === undefined) {
        const replaced = new Map(changes.map(({ name, after }) => [name, after]));
        outcome = await this.#programming.complete(replaced, prepared.policyOf);
        if (!outcome.accepted) this.#programming.forget('a refused configuration is being taken back');
      }
    } catch (error) {
      // It may or may not have taken effect: the next reconciliation makes sure of the old configuration.
      this.#programming.forget(textOf(error));
      this.#takeBack(prepared, { ...told, message: textOf(error) });
      throw unavailable(error);
    }
    if (outcome.accepted) return;
    const reasons = outcome.reasons.map(({ service, path, reason }) => `${service} ${path}: ${reason}`.trim());
    this.#takeBack(prepared, { ...told, message: `the data plane refused the change: ${reasons.join('; ')}` });
    if (this.#programming.failure !== '') await this.#reconcile().catch(() => undefined);
    const violations = outcome.reasons.map(({ path, reason, service }) =>
      create(ViolationSchema, { path: service === '' ? path : `${service}: ${path}`, reason, fix: refusalFix(reason) }),
    );
    throw new ApplicationError('refused', 'the data plane refused the change; nothing has changed', violations);
  }

  #undo(told: Told): void {
    this.#store.undo(() => this.#options.audit?.record('failed', told));
  }

  #takeBack(prepared: PreparedChange, told: Told): void {
    prepared.reject();
    try {
      this.#undo(told);
    } catch (error) {
      this.#undoPending = told;
      this.#log.error({ reason: String(error) }, 'a refused version could not be taken back yet; trying again');
    }
  }

  get(name: string): ServiceResource | undefined {
    const stored = guarded(() => this.#store.get(name));
    return stored && this.#resource(name, stored.body, stored.generation);
  }

  #resource(name: string, body: Uint8Array, generation: bigint): ServiceResource {
    return create(ServiceResourceSchema, {
      service: unpackService(body),
      generation,
      conditions: this.#conditions(name, generation),
    });
  }

  #conditions(name: string, observedGeneration: bigint): Condition[] {
    const { failure } = this.#programming;
    const unbound = this.#programming.unboundOf(name);
    const packets = this.#index.packets.has(name)
      ? this.#options.packetStanding?.(name, observedGeneration)
      : undefined;
    const { steering } = this.#programming;
    // Of those that ask for a packet tier that is for it to say.
    const asked = packets === undefined && !steering.on && this.#index.needsSteering(name);
    const stored = asked ? this.#store.get(name) : undefined;
    const unserved = stored === undefined ? [] : unsteerable(unpackService(stored.body));
    const programmed =
      failure !== ''
        ? { status: false, reason: 'DataPlaneUnavailable', message: failure }
        : unserved.length > 0 && !steering.on
          ? {
              status: false,
              reason: 'PrefixNotSteered',
              message: `the relay serves ${unserved.join(', ')} by sk_lookup alone: ${steering.reason}`,
            }
          : unbound.length > 0
            ? {
                status: false,
                reason: 'ListenerNotBound',
                message: `${unbound.join('; ')}; the engine tries again every second`,
              }
            : { status: true, reason: 'Programmed', message: '' };
    const standing = packets !== undefined && (!packets.relayed || programmed.status) ? packets : programmed;
    return [
      { type: 'Accepted', status: true, reason: 'Accepted', message: '' },
      this.#resolvedRefs(name),
      { type: 'Programmed', status: standing.status, reason: standing.reason, message: standing.message },
    ].map((condition) => create(ConditionSchema, { ...condition, observedGeneration }));
  }

  /** In a mesh one side may have removed what the other has begun to name. */
  #resolvedRefs(service: string): ObjectStanding & { readonly type: 'ResolvedRefs' } {
    const policy = this.#index.policyOf(service);
    const named = this.objects.trafficPolicies.get(policy)?.value;
    const isForIt = named !== undefined && (named.cluster === '' || named.cluster === this.#clusterOf(service));
    if (policy === '' || isForIt) {
      return { type: 'ResolvedRefs', status: true, reason: 'ResolvedRefs', message: '' };
    }
    if (named !== undefined) {
      const message = `traffic policy ${JSON.stringify(policy)} is of cluster ${JSON.stringify(named.cluster)}: the service is carried without; name another`;
      return { type: 'ResolvedRefs', status: false, reason: 'PolicyOfOtherCluster', message };
    }
    const message = `there is no traffic policy ${JSON.stringify(policy)}: the service is carried without; add the policy, or name another`;
    return { type: 'ResolvedRefs', status: false, reason: 'PolicyMissing', message };
  }

  #clusterOf(service: string): string {
    const stored = this.#store.get(service);
    return stored === undefined ? '' : unpackService(stored.body).cluster;
  }

  listObjects({ kind, name }: { kind: ObjectKind | undefined; name: string | undefined }) {
    return guarded(() => {
      const stored = this.#store.objects(kind).filter((object) => name === undefined || object.name === name);
      return { resources: stored.map((object) => this.#objectResource(object)), version: this.#store.version };
    });
  }

  #objectResource({ kind, name, body, generation }: StoredObject): ObjectResource {
    const conditions = this.#objectConditions(kind, name, generation);
    return create(ObjectResourceSchema, { object: unpackObject(kind, body), generation, conditions });
  }

  #objectConditions(kind: ObjectKind, name: string, generation: bigint): Condition[] {
    const standing = this.#options.objectStanding?.(kind, name, generation);
    return [
      { type: 'Accepted', status: true, reason: 'Accepted', message: '' },
      ...(standing === undefined ? [] : [{ type: 'Programmed', ...standing }]),
    ].map((condition) => create(ConditionSchema, { ...condition, observedGeneration: generation }));
  }

  /** For who shows all of it, and what changes of it. */
  get observed(): ObservedConfiguration {
    return {
      serviceNames: () => this.#store.names(),
      objectNames: () => guarded(() => this.#store.objects()),
      declared: (kind, name) => guarded(() => this.#declared(kind, name)),
      servicesNaming: (policy) => this.servicesNaming(policy),
      follow: (onChange) => this.#hub.follow(onChange),
    };
  }

  #declared(kind: Kind, name: string): Declared | undefined {
    if (kind === 'Service') {
      const stored = this.#store.get(name);
      return stored && { ...stored, conditions: this.#conditions(name, stored.generation) };
    }
    const stored = this.#store.object(kind, name);
    return stored && { ...stored, conditions: this.#objectConditions(kind, name, stored.generation) };
  }

  list(query: { pageSize: number; pageToken: string; labels: Readonly<Record<string, string>> }) {
    const limit = Math.min(Math.max(query.pageSize || 500, 1), 1_000);
    const wanted = Object.entries(query.labels);
    const after = Buffer.from(query.pageToken, 'base64url').toString('utf8');
    const resources: ServiceResource[] = [];
    let nextPageToken = '';
    let last = '';
    return guarded(() => {
      for (const { name, body, generation } of this.#store.scan(after)) {
        const resource = this.#resource(name, body, generation);
        if (!wanted.every(([key, value]) => resource.service?.labels[key] === value)) continue;
        if (resources.length === limit) {
          nextPageToken = Buffer.from(last, 'utf8').toString('base64url');
          break;
        }
        resources.push(resource);
        last = name;
      }
      return { resources, nextPageToken, total: this.#store.count(), version: this.#store.version };
    });
  }

  watch(resumeVersion: bigint, signal: AbortSignal): AsyncIterable<WatchEvent> {
    return this.#hub.watch(resumeVersion, signal);
  }

  /** Conditions of these services have changed. */
  touched(services: Iterable<string>): void {
    this.#hub.changed({ services: [...services] });
  }

  /** Conditions of these objects have changed. */
  touchedObjects(objects: Changed['objects']): void {
    this.#hub.changed({ objects });
  }

  history(query: { limit: number; beforeVersion: bigint; withDiff: boolean }): Revision[] {
    const limit = Math.min(query.limit || 50, 1_000);
    return guarded(() => {
      let budget = DIFFS_MAX;
      return this.#store.revisions({ limit, beforeVersion: query.beforeVersion }).map((revision) => {
        const found = query.withDiff && budget > 0 ? diffs(this.#store.changesOf(revision.version), budget) : [];
        budget -= found.length;
        const { timeMs, ...rest } = revision;
        return create(RevisionSchema, { ...rest, time: timestampFromMs(timeMs), diffs: found });
      });
    });
  }

  async revert(version: bigint, options: RevertOptions, caller: Caller) {
    const changes = guarded(() => this.#store.stateAt(version));
    if (changes === undefined) {
      throw new ApplicationError('not_found', `history has no version ${version}: see marcher history`);
    }
    const now = this.#store.version;
    const change = create(ChangeSchema);
    for (const { kind, name, before, after } of changes) {
      if (kind === 'Service') {
        if (after !== undefined) change.upsert.push(unpackService(after));
        else if (before !== undefined) change.remove.push(name);
      } else if (after !== undefined) change.upsertObjects.push(unpackObject(kind, after));
      else if (before !== undefined) change.removeObjects.push(create(ObjectKeySchema, { kind, name }));
    }
    const message = options.message === '' ? `revert to version ${version}` : options.message;
    // What the change was made from is the version read above, also when the caller does not insist on one.
    const expectedVersion = options.expectedVersion === 0n ? now : options.expectedVersion;
    const result = await this.apply(
      change,
      { ...options, expectedVersion, message, omitDiff: false },
      { ...caller, origin: 'revert' },
    );
    return { version: result.version, diffs: result.diffs, acks: result.acks };
  }

  /** Runs work that touches the data plane in turn with changes. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#queue.run(work);
  }

  #checkVersion(expected: bigint): void {
    const now = this.#store.version;
    if (expected === 0n || expected === now) return;
    const message = `the configuration is at version ${now}, and the change was made for version ${expected}: plan again`;
    throw new ApplicationError('conflict', message);
  }
}

/** others: who could acknowledge it, of those in there. */
function tooMany({ count }: Acks, others: number, where: string): string | undefined {
  if (count <= others) return undefined;
  const has = others === 1 ? 'is 1 other node' : `are ${others} other nodes`;
  return `min_acks is ${count}, and there ${has} in ${where}: ask for as many at most`;
}

function refusalFix(reason: string): string {
  if (/cannot assign requested address|EADDRNOTAVAIL/i.test(reason)) {
    return 'give the address to an interface of this node (ip address add); a virtual address of a forwarding.mode other than relay needs none while its tier (XDP, for nat tc) is available: marcher status says why it is not';
  }
  return /address already in use|EADDRINUSE/i.test(reason)
    ? 'another process has the port (ss -ltnup shows which): stop it, or choose another port'
    : 'change what the reason names and try again';
}

function actionOf({ origin }: Caller): string {
  return origin === 'file' ? ACTION.applyFile : origin === 'revert' ? ACTION.revert : ACTION.apply;
}

/** More are not named in the audit log. */
const TOUCHED_MAX = RECORD_LIMITS.objects;

function touched(changes: readonly CommitChange[]): Pick<Told, 'objects' | 'moreObjects'> {
  const objects = changes.slice(0, TOUCHED_MAX).map(({ kind, name }) => `${kind}/${name}`);
  return { objects, moreObjects: changes.length - objects.length };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function namesOf(changes: readonly CommitChange[]): Changed {
  const services: string[] = [];
  const objects: { kind: ObjectKind; name: string }[] = [];
  for (const { kind, name } of changes) {
    if (kind === 'Service') services.push(name);
    else objects.push({ kind, name });
  }
  return { services, objects };
}

function diffs(changes: readonly CommitChange[], max = DIFFS_MAX): ObjectDiff[] {
  return changes.slice(0, max).map((change) => {
    const { kind, name, before, after } = change;
    const operation =
      before === undefined ? Operation.CREATE : after === undefined ? Operation.DELETE : Operation.UPDATE;
    return create(ObjectDiffSchema, { kind, name, operation, fields: fieldsOf(change) });
  });
}

function fieldsOf({ kind, before, after }: CommitChange) {
  if (kind === 'Service') return diffServices(before && unpackService(before), after && unpackService(after));
  const unpacked = (body: Uint8Array | undefined): Object$ | undefined => body && unpackObject(kind, body);
  return diffObjects(unpacked(before), unpacked(after));
}
