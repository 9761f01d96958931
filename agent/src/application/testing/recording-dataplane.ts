// SPDX-License-Identifier: Apache-2.0
/** A data plane for tests of the application: keeps what it was given, and refuses, hangs up or forgets when told to. */
import { create, fromBinary } from '@bufbuild/protobuf';
import { type ApplyReply, ApplyReplySchema, ConnectionListSchema } from '@marcher/proto/marcher/engine/v1/control_pb';
import { type Service, type Snapshot, SnapshotSchema } from '@marcher/proto/marcher/engine/v1/snapshot_pb';
import { type Dataplane, DataplaneError, type EngineEvent, type EngineStatus } from '../../ports/dataplane.js';

export class RecordingDataplane implements Dataplane {
  generation = 0n;
  running = true;
  setAside = 0n;
  buildId = 'old';
  installed = 'old';
  readonly upgrades: { drainMs: number }[] = [];
  /** Says why an upgrade fails; undefined: it does not. */
  refuseUpgrade: () => string | undefined = () => undefined;
  readonly services = new Map<string, Service>();
  node: Snapshot['node'];
  /** Every snapshot, decoded, with what was asked for. */
  readonly applied: { snapshot: Snapshot; tolerateBindErrors: boolean }[] = [];
  /** Says what is wrong with a snapshot; undefined: nothing. */
  refuse: (snapshot: Snapshot) => string | undefined = () => undefined;
  unbound: (snapshot: Snapshot) => { service: string; path: string; reason: string }[] = () => [];
  /** Runs before a snapshot is answered. */
  beforeReply: () => Promise<void> | void = () => undefined;
  pendingEvents: EngineEvent[] = [];
  slots = new Map<number, { service: string; name: string }>();

  async apply(input: Snapshot | Uint8Array, options: { tolerateBindErrors: boolean }): Promise<ApplyReply> {
    const snapshot = input instanceof Uint8Array ? fromBinary(SnapshotSchema, input.slice()) : input;
    if (!this.running) throw new DataplaneError('no-engine', 'no engine is running');
    this.applied.push({ snapshot, ...options });
    await this.beforeReply();
    const refuse = (reason: string): ApplyReply =>
      create(ApplyReplySchema, {
        accepted: false,
        generation: this.generation,
        reasons: [{ path: '', reason, service: '' }],
      });
    if (snapshot.baseGeneration !== 0n && snapshot.baseGeneration !== this.generation)
      return refuse('the base has moved');
    if (snapshot.generation <= this.generation) return refuse('the generation does not rise');
    const reason = this.refuse(snapshot);
    if (reason !== undefined) return refuse(reason);
    const unbound = this.unbound(snapshot);
    if (unbound.length > 0 && !options.tolerateBindErrors) return refuse(unbound[0]?.reason ?? '');
    if (snapshot.baseGeneration === 0n) this.services.clear();
    for (const name of snapshot.removedServices) this.services.delete(name);
    for (const service of snapshot.services) this.services.set(service.name, service);
    this.node = snapshot.node ?? this.node;
    this.generation = snapshot.generation;
    return create(ApplyReplySchema, { accepted: true, generation: this.generation, unbound });
  }

  /** The engine has crashed and starts with nothing. */
  crash(): void {
    this.generation = 0n;
    this.services.clear();
  }

  /** What runs keeps ending the engine, which goes back to that generation. */
  setAsideFor(generation: bigint, services: readonly string[]): void {
    this.setAside = this.generation;
    this.generation = generation;
    for (const name of [...this.services.keys()]) if (!services.includes(name)) this.services.delete(name);
  }

  status(): EngineStatus {
    return {
      running: this.running,
      pid: 1,
      workers: 1,
      restarts: 0,
      adopted: false,
      retiring: 0,
      generation: this.generation,
      savedGeneration: this.generation,
      setAsideGeneration: this.setAside,
      startedUnixMs: 0,
      memoryBytes: 0,
      eventsDropped: 0n,
      listeningSockets: 0,
      bankedSockets: 0,
      version: 'test',
      buildId: this.buildId,
      lastError: '',
    };
  }

  async connections() {
    return create(ConnectionListSchema, { connections: [], total: 3n });
  }

  async backends() {
    return [];
  }

  stats() {
    return [];
  }

  slotName(slot: number) {
    const found = this.slots.get(slot);
    return found && { slot, kind: 1 as const, ...found };
  }

  events() {
    const events = this.pendingEvents;
    this.pendingEvents = [];
    return { length: events.length, dropped: 0n, at: (index: number) => events[index] as EngineEvent };
  }

  async installedBuildId() {
    return this.installed;
  }

  async upgrade(options: { drainMs: number }) {
    this.upgrades.push(options);
    const reason = this.refuseUpgrade();
    if (reason !== undefined) throw new DataplaneError('no-engine', reason);
    this.buildId = this.installed;
  }

  async stop() {}
  async close() {}

  selfCheck() {
    return { ok: true, libraries: [], forbidden: [] };
  }
}
