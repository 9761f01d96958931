// SPDX-License-Identifier: Apache-2.0
/**
 * The agent without its adapters: use cases over a store and a data plane, and the loops that keep them together. What
 * runs where is main.ts's to say.
 */
import { hash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Configuration, type ConfigurationLog } from './application/configuration.js';
import { EngineUpgrade } from './application/engine-upgrade.js';
import { EventLog } from './application/event-log.js';
import { observedState } from './application/mesh/observed-state.js';
import type { Replicated } from './application/mesh/replication.js';
import { NO_PACKET_TIER } from './application/no-packet-tier.js';
import { Node, type NodeCondition } from './application/node.js';
import { observedSources } from './application/observe/node-sources.js';
import { Observatory } from './application/observe/observatory.js';
import { PacketForwarding } from './application/packet-forwarding.js';
import type { Decapsulated } from './application/packet-packing.js';
import { type Identity, Programming } from './application/programming.js';
import { Traffic } from './application/traffic.js';
import type { WatchOptions } from './application/watch-hub.js';
import { DEFAULTS } from './domain/defaults.js';
import type { NodeState } from './domain/mesh/node-state.js';
import type { AuditTrail } from './ports/audit.js';
import type { ConfigStore } from './ports/config-store.js';
import type { Dataplane } from './ports/dataplane.js';
import type { MeshUseCases } from './ports/mesh.js';
import type { ObserveUseCases } from './ports/observe.js';
import type { PacketTier } from './ports/packet-tier.js';
import type { UseCases } from './ports/use-cases.js';

export interface AgentOptions {
  readonly store: ConfigStore;
  readonly dataplane: Dataplane;
  readonly identity: Identity;
  readonly version: string;
  readonly log: ConfigurationLog;
  readonly owner?: string | undefined;
  readonly conditions?: () => readonly NodeCondition[];
  readonly onVersion?: (changed: number) => void;
  readonly onProgrammed?: (services: number) => void;
  readonly onDrained?: () => void;
  readonly watch?: WatchOptions;
  readonly reconcileMs?: number;
  readonly collectMs?: number;
  readonly upgradeRetryMs?: number;
  /** Absent: everything is relayed. */
  readonly packetTier?: PacketTier;
  /** Absent: none. */
  readonly decapsulated?: Decapsulated;
  /** IP addresses of this node now: the relay can listen on no other. Default: none. */
  readonly localAddresses?: () => readonly string[];
  /** XDP carries no flows of NAT, open or not. */
  readonly natByTc?: boolean;
  readonly packetRetryMs?: number;
  /** The mesh that this node is in; undefined: none (yet). */
  readonly replicated?: () => Replicated | undefined;
  /** What consoles are shown of the mesh. Absent, or undefined: nothing. */
  readonly mesh?: () => Pick<MeshUseCases, 'status' | 'members'> | undefined;
  /** Absent: nothing is audited. */
  readonly audit?: AuditTrail;
}

export interface Agent extends UseCases {
  readonly config: Configuration;
  readonly observe: ObserveUseCases;
  /** Gives the stored configuration to the data plane; then keeps it there. Fails only when the store does. */
  start(): Promise<void>;
  /** How this node is doing, for the others of its mesh. Fails while the engine does not answer. */
  observed(): Promise<NodeState>;
  /** Replaces the engine when another build of it is installed. */
  upgradeEngine(): Promise<void>;
  stop(): Promise<void>;
}

/** Traffic of the engine does not wait longer than this for programs of the packet tier to be loaded. */
const PACKET_TIER_START_MS = 5_000;
/** Collecting goes on at once while it finds a full batch. */
const BATCH = 4_096;
const COLLECT_MS = 100;
/** While there are many events they are collected more often: this thread shares its core with the engine, and work in
 * one piece of several milliseconds shows in the tail of the latencies. */
const COLLECT_SOON_MS = 20;
const MANY_EVENTS = 256;

export function createAgent(options: AgentOptions): Agent {
  const { store, dataplane, identity, log } = options;
  const programming = new Programming(dataplane, store, identity, {
    carries: (service) => packets.carries(service),
    services: () => config.carriedServices,
  });
  const upgrade = new EngineUpgrade(dataplane, log);
  const config = new Configuration({
    store,
    programming,
    log,
    nowMs: () => Date.now(),
    onApplied: () => packets.sync(),
    packetStanding: (name, generation) => packets.standing(name, generation),
    packetsHeld: () => packets.condition()?.reason === 'Held',
    objectStanding: (kind, name, generation) =>
      kind === 'Guard' ? packets.guardStanding(name, generation) : undefined,
    owner: options.owner,
    ...(options.replicated === undefined ? {} : { replicated: options.replicated }),
    ...(options.audit === undefined ? {} : { audit: options.audit }),
    ...(options.watch === undefined ? {} : { watch: options.watch }),
    onVersion: (changed) => {
      // Not within the change: slots get new owners only some time after their services have gone.
      setImmediate(() => {
        if (!stopped) events.settle();
      });
      options.onVersion?.(changed);
    },
    ...(options.onProgrammed === undefined ? {} : { onProgrammed: options.onProgrammed }),
  });
  const packets = new PacketForwarding({
    tier: options.packetTier ?? NO_PACKET_TIER,
    store,
    dataplane,
    log,
    nowMs: () => Date.now(),
    services: () => config.packetServices,
    claims: () => config.claims(),
    drains: programming,
    decapsulated: options.decapsulated ?? { addresses: [], guePort: DEFAULTS.guePort, mtu: 0 },
    natByTc: options.natByTc ?? false,
    localAddresses: options.localAddresses ?? (() => []),
    guards: () => config.objects.guards,
    policies: () => config.objects.trafficPolicies,
    onAvailable: () => config.recarry(),
    onGuardStanding: (names) => config.touchedObjects(names.map((name) => ({ kind: 'Guard', name }))),
    onStanding: (services) => config.touched(services.filter((name) => config.has(name))),
    ...(options.packetRetryMs === undefined ? {} : { retryMs: options.packetRetryMs }),
  });
  const events = new EventLog(dataplane, {
    onListener: ({ service, bound, message }) => {
      if (bound) programming.listenerBound(service, message);
      config.touched([service]);
    },
    onHealth: (service) => {
      observe.hurry('backends');
      if (config.packetServices.has(service)) packets.healthChanged(service);
    },
    onEjected: () => observe.hurry('backends'),
  });
  const node = new Node({
    configuration: config,
    programming,
    packets,
    store,
    dataplane,
    identity,
    log,
    version: options.version,
    startedMs: Date.now(),
    memoryBytes: () => process.memoryUsage.rss(),
    pid: process.pid,
    ...(options.audit === undefined ? {} : { audit: options.audit }),
    onDrained: () => {
      observe.hurry('status', 'backends');
      void packets.sync();
      options.onDrained?.();
    },
    conditions: () => [
      ...(upgrade.condition === undefined ? [] : [upgrade.condition]),
      ...(options.conditions?.() ?? []),
    ],
  });
  const traffic = new Traffic(dataplane, events, (service) => config.has(service), packets);

  const observe = new Observatory({
    sources: observedSources({
      ...{ name: identity.name, config, node, traffic },
      mesh: options.mesh ?? (() => undefined),
    }),
    hash: (bytes) => hash('sha256', bytes, 'buffer'),
    newRun: randomUUID,
    clock: {
      nowMs: () => Date.now(),
      monotonicMs: () => performance.now(),
      after: (ms, work) => {
        const timer = setTimeout(work, ms);
        timer.unref();
        return () => clearTimeout(timer);
      },
    },
  });

  let stopped = false;
  let timers: NodeJS.Timeout[] = [];
  let reconciling: Promise<void> = Promise.resolve();
  let lastFailure = '';
  const reconcile = (): Promise<void> =>
    config.reconcile().then(
      () => {
        if (lastFailure !== '') log.info({}, 'the data plane answers again');
        lastFailure = '';
      },
      (error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        if (reason !== lastFailure) log.error({ reason }, 'the data plane could not be brought in step; trying again');
        lastFailure = reason;
      },
    );

  const every = (ms: number | (() => number), work: () => Promise<void> | void): void => {
    const again = (): void => {
      if (stopped) return;
      const timer = setTimeout(
        () => {
          timers = timers.filter((other) => other !== timer);
          void Promise.resolve(work()).finally(again);
        },
        typeof ms === 'number' ? ms : ms(),
      );
      timers.push(timer);
    };
    again();
  };

  let upgrading: Promise<void> = Promise.resolve();
  const upgradeEngine = (): Promise<void> => {
    upgrading = config.exclusively(() => upgrade.run());
    return upgrading;
  };

  return {
    config,
    node,
    traffic,
    observe,
    observed: () => observedState({ status: () => node.status(), dataplane, tiers: () => packets.counts() }),
    upgradeEngine,
    async start() {
      config.load();
      await Promise.race([packets.start(), sleep(PACKET_TIER_START_MS, undefined, { ref: false })]);
      packets.engineTold();
      await reconcile();
      await packets.sync();
      void upgradeEngine();
      every(options.upgradeRetryMs ?? 60_000, () => (upgrade.failed ? upgradeEngine() : undefined));
      every(options.reconcileMs ?? 1_000, () => {
        reconciling = reconcile();
        return reconciling;
      });
      every(options.reconcileMs ?? 1_000, () => packets.reconcile());
      let collected = 0;
      const collectMs = options.collectMs ?? COLLECT_MS;
      every(
        () => (collected > MANY_EVENTS ? Math.min(COLLECT_SOON_MS, collectMs) : collectMs),
        () => {
          try {
            for (let rounds = 0; rounds < 16; rounds++) {
              collected = events.collect(BATCH);
              if (collected < BATCH) break;
            }
          } catch (error) {
            log.warn({ reason: String(error) }, 'events of the data plane could not be read');
          }
        },
      );
    },
    async stop() {
      stopped = true;
      for (const timer of timers) clearTimeout(timer);
      observe.close();
      await Promise.all([reconciling, upgrading, packets.stop()]);
    },
  };
}
