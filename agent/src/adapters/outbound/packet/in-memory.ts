// SPDX-License-Identifier: Apache-2.0
/**
 * Deterministic packet tiers for tests: no kernel. They keep the table in force and what they were given, refuse what
 * libmarcher refuses, and let the test play the kernel: count, refuse, fail, come and go.
 */
import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import {
  type ApplyReply,
  ApplyReplySchema,
  type GuardRule,
  type Interface,
  InterfaceSchema,
  type PolicyTrafficSchema,
  type Reason,
  ReasonSchema,
  type Service,
  type Status,
  StatusSchema,
  type Table,
  TableSchema,
  type TrafficSchema,
} from '@marcher/proto/marcher/packet/v1/packet_pb';
import { NO_PROOF } from '../../../domain/packet-proof.js';
import { type PacketTier, PacketTierError, type PacketTierState } from '../../../ports/packet-tier.js';

/** PACKET_REASONS_MAX of dataplane-c/src/control/packet.h. */
const REASONS_MAX = 100;

export class InMemoryPacketTier implements PacketTier {
  state: PacketTierState = { kind: 'unavailable', reason: 'it has not been opened yet', retry: true };
  proof = NO_PROOF;
  /** Why open() does not open it; undefined: it does. */
  unavailable: { readonly reason: string; readonly retry: boolean } | undefined;
  interfaces: Interface[] = [create(InterfaceSchema, { name: 'eth0', index: 2, mode: 'native', tc: 'tcx' })];
  /** The table in force. */
  table: Table | undefined;
  /** Every table that arrived, oldest first. */
  readonly applied: Table[] = [];
  /** What obstacles() says. */
  hindrances: string[] = [];
  opens = 0;
  /** Says what is wrong with a table beyond its form; undefined: nothing. */
  refuse: (table: Table) => string | { path: string; reason: string } | undefined = () => undefined;
  /** What keeps a rule of a guard from being obeyed. */
  problem: (rule: GuardRule) => string = () => '';
  /** Which services of those that are relayed, too, are left out, and why. */
  leaveOut: (service: Service) => string = () => '';
  /** Thrown by apply when set. */
  failure: PacketTierError | undefined;
  /** Runs when a table has arrived, before anything becomes of it. */
  beforeReply: (() => Promise<void> | void) | undefined;
  readonly #counted = new Map<string, { packets: bigint; bytes: bigint }>();
  readonly drops = new Map<string, bigint>();
  /** What of a service that is forwarded by NAT XDP has carried. */
  readonly fast = new Map<string, MessageInitShape<typeof TrafficSchema>>();
  /** Packets of a service that could not be sent on, by reason; fail() counts them. */
  readonly #failures = new Map<string, Map<string, bigint>>();
  /** What policies did, by service. */
  readonly overRate = new Map<string, MessageInitShape<typeof PolicyTrafficSchema>>();
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;

  async open(): Promise<PacketTierState> {
    this.opens++;
    if (this.state.kind === 'off' || this.#closed) return this.state;
    this.state = this.unavailable === undefined ? { kind: 'open' } : { kind: 'unavailable', ...this.unavailable };
    return this.state;
  }

  apply(bytes: Uint8Array): Promise<ApplyReply> {
    const result = this.#tail.then(() => this.#apply(bytes));
    this.#tail = result.catch(() => undefined);
    return result;
  }

  async #apply(bytes: Uint8Array): Promise<ApplyReply> {
    this.#use();
    let table: Table;
    try {
      table = fromBinary(TableSchema, bytes);
    } catch {
      throw new PacketTierError('invalid', 'the table is no marcher.packet.v1.Table');
    }
    this.applied.push(table);
    if (this.beforeReply !== undefined) await this.beforeReply();
    if (this.failure !== undefined) throw this.failure;
    const reasons = faultsOf(table);
    const refusal = this.refuse(table);
    if (refusal !== undefined) {
      reasons.push(create(ReasonSchema, typeof refusal === 'string' ? { reason: refusal } : refusal));
    }
    if (reasons.length > 0) return create(ApplyReplySchema, { accepted: false, reasons });
    const leftOut = table.services.flatMap((service) => {
      const reason = service.relayedToo ? this.leaveOut(service) : '';
      return reason === '' ? [] : [create(ReasonSchema, { service: service.name, path: 'backends[0]', reason })];
    });
    const gone = new Set(leftOut.map(({ service }) => service));
    table.services = table.services.filter(({ name }) => !gone.has(name));
    this.table = table;
    return create(ApplyReplySchema, {
      accepted: true,
      leftOut: leftOut.slice(0, REASONS_MAX),
      services: table.services.length,
      backends: table.services.reduce((sum, { backends }) => sum + backends.length, 0),
    });
  }

  status(): Status {
    this.#use();
    const traffic = (key: string) => this.#counted.get(key) ?? { packets: 0n, bytes: 0n };
    return create(StatusSchema, {
      interfaces: this.interfaces,
      layoutVersion: 1,
      services: (this.table?.services ?? []).map(({ name, backends, policy }) => ({
        name,
        traffic: traffic(name),
        ...(this.fast.has(name) && { fast: this.fast.get(name) ?? {} }),
        failures: [...(this.#failures.get(name) ?? [])].map(([reason, packets]) => ({ reason, packets })),
        ...(policy && { policy: this.overRate.get(name) ?? {} }),
        backends: backends.map((backend) => ({ name: backend.name, traffic: traffic(`${name}/${backend.name}`) })),
      })),
      ...(this.table?.guard && {
        guard: {
          rules: this.table.guard.rules.map((rule) => {
            const { guard, position } = rule;
            return { guard, position, traffic: traffic(`${guard}[${position}]`), problem: this.problem(rule) };
          }),
        },
      }),
      drops: [...this.drops].map(([reason, packets]) => ({ reason, packets })),
    });
  }

  obstacles(): readonly string[] {
    return this.hindrances;
  }

  async tend(): Promise<void> {
    this.#use();
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.state.kind === 'open') this.state = { kind: 'unavailable', reason: 'it was closed', retry: false };
  }

  /** What a test does as the kernel: forwards packets of a service to a backend. */
  count(service: string, backend: string, packets: bigint, bytes: bigint): void {
    for (const key of [service, `${service}/${backend}`]) {
      const known = this.#counted.get(key) ?? { packets: 0n, bytes: 0n };
      this.#counted.set(key, { packets: known.packets + packets, bytes: known.bytes + bytes });
    }
  }

  /** The same, that cannot be: they are dropped. */
  fail(service: string, reason: string, packets: bigint): void {
    const known = this.#failures.get(service) ?? new Map<string, bigint>();
    this.#failures.set(service, known.set(reason, (known.get(reason) ?? 0n) + packets));
    this.drops.set(reason, (this.drops.get(reason) ?? 0n) + packets);
  }

  #use(): void {
    if (this.state.kind === 'open') return;
    throw new PacketTierError('not-open', `the packet tier is not open: ${this.state.reason}`);
  }
}

function isPrime(n: number): boolean {
  if (n < 4) return n > 1;
  for (let i = 2; i * i <= n; i++) if (n % i === 0) return false;
  return true;
}

function faultsOf(table: Table): Reason[] {
  const reasons: Reason[] = [];
  const names = new Set<string>();
  const vips = new Set<string>();
  table.services.forEach((service, s) => {
    const at = `services[${s}]`;
    const fault = (path: string, reason: string): void => {
      reasons.push(create(ReasonSchema, { path: `${at}.${path}`, reason, service: service.name }));
    };
    if (names.has(service.name)) fault('name', 'is the name of another service');
    names.add(service.name);
    service.vips.forEach(({ address, transport, port }, v) => {
      const key = `${transport} ${port} ${address.join('.')}`;
      if (address.length !== 4 && address.length !== 16) fault(`vips[${v}].address`, `has ${address.length} bytes`);
      if (vips.has(key)) fault(`vips[${v}]`, 'is a VIP of another service, or stands twice');
      vips.add(key);
    });
    faultsOfRing(service, fault);
  });
  return reasons;
}

function faultsOfRing(service: Service, fault: (path: string, reason: string) => void): void {
  if (!isPrime(service.ringSize)) fault('ring_size', `${service.ringSize} is not a prime`);
  else if (service.ringSize < service.backends.length) fault('ring_size', 'is below the number of backends');
}
