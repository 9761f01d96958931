// SPDX-License-Identifier: Apache-2.0
/**
 * The agent without its adapters: use cases over a store and a data plane, and the loops that keep them together. What
 * runs where is main.ts's to say.
 */
import { Configuration, type ConfigurationLog } from './application/configuration.js';
import { EngineUpgrade } from './application/engine-upgrade.js';
import { EventLog } from './application/event-log.js';
import { Node, type NodeCondition } from './application/node.js';
import { type Identity, Programming } from './application/programming.js';
import { Traffic } from './application/traffic.js';
import type { WatchOptions } from './application/watch-hub.js';
import type { ConfigStore } from './ports/config-store.js';
import type { Dataplane } from './ports/dataplane.js';
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
}

export interface Agent extends UseCases {
  readonly config: Configuration;
  /** Gives the stored configuration to the data plane; then keeps it there. Fails only when the store does. */
  start(): Promise<void>;
  /** Replaces the engine when another build of it is installed. */
  upgradeEngine(): Promise<void>;
  stop(): Promise<void>;
}

/** Collecting goes on at once while it finds a full batch. */
const BATCH = 4_096;
const COLLECT_MS = 100;
/** While there are many events they are collected more often: this thread shares its core with the engine, and work in
 * one piece of several milliseconds shows in the tail of the latencies. */
const COLLECT_SOON_MS = 20;
const MANY_EVENTS = 256;

export function createAgent(options: AgentOptions): Agent {
  const { store, dataplane, identity, log } = options;
  const programming = new Programming(dataplane, store, identity);
  const upgrade = new EngineUpgrade(dataplane, log);
  const config = new Configuration({
    store,
    programming,
    log,
    nowMs: () => Date.now(),
    owner: options.owner,
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
  const events = new EventLog(dataplane, ({ service, bound, message }) => {
    if (bound) programming.listenerBound(service, message);
    config.touched([service]);
  });
  const node = new Node({
    configuration: config,
    programming,
    store,
    dataplane,
    identity,
    log,
    version: options.version,
    startedMs: Date.now(),
    memoryBytes: () => process.memoryUsage.rss(),
    pid: process.pid,
    onDrained: () => options.onDrained?.(),
    conditions: () => [
      ...(upgrade.condition === undefined ? [] : [upgrade.condition]),
      ...(options.conditions?.() ?? []),
    ],
  });
  const traffic = new Traffic(dataplane, events, (service) => config.has(service));

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
    upgradeEngine,
    async start() {
      config.load();
      await reconcile();
      void upgradeEngine();
      every(options.upgradeRetryMs ?? 60_000, () => (upgrade.failed ? upgradeEngine() : undefined));
      every(options.reconcileMs ?? 1_000, () => {
        reconciling = reconcile();
        return reconciling;
      });
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
      await Promise.all([reconciling, upgrading]);
    },
  };
}
