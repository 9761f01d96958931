/**
 * The packet tiers as the application sees them: programs in the kernel that forward packets without user space, work
 * without an engine, and go on without us. Two adapters pass the same compliance suite: libmarcher
 * (adapters/outbound/packet/packet-tier.ts) and one in memory for tests (in-memory.ts).
 *
 * That the tier can't be had is a state with a reason and no error; a refused table is an answer (`accepted: false` with
 * reasons). What else fails is a PacketTierError.
 */

import type { ApplyReply, Status } from '@marcher/proto/marcher/packet/v1/packet_pb';
import type { PacketProof } from '../domain/packet-proof.js';

export type PacketTierState =
  /** Nobody asked for it, and the reason says how to. */
  | { readonly kind: 'off'; readonly reason: string }
  /** It was asked for and can't be had. retry: the reason may pass. */
  | { readonly kind: 'unavailable'; readonly reason: string; readonly retry: boolean }
  /** Attached to at least one interface. */
  | { readonly kind: 'open' };

export interface PacketTier {
  readonly state: PacketTierState;
  /** What became of real packets before it was opened. */
  readonly proof: PacketProof;
  /**
   * Brings it as far as it will go: opens it, or, when it is open, attaches it again where an interface was missing or
   * is another one now. Never fails: the state says what came of it.
   */
  open(): Promise<PacketTierState>;
  /**
   * Puts a table (a serialised marcher.packet.v1.Table) in force; what is not in it is no longer carried. Resolves with
   * the answer also when it was refused, and then the table before stays in force. One call at a time is in flight.
   */
  apply(table: Uint8Array): Promise<ApplyReply>;
  /** Upkeep of what is in force, now and then: such as room for more flows. */
  tend(): Promise<void>;
  status(): Status;
  /** What keeps packets of these address families from reaching backends though all is attached, with what to do. */
  obstacles(families: { readonly ipv4: boolean; readonly ipv6: boolean }): readonly string[];
  /** Lets go; everything stays in force. */
  close(): Promise<void>;
}

export type PacketTierErrorCode =
  | 'not-open'
  | 'invalid'
  | 'system'
  | 'busy' // another process has the pin directory
  | 'no-memory'
  | 'timeout'
  | 'protocol';

export class PacketTierError extends Error {
  readonly code: PacketTierErrorCode;

  constructor(code: PacketTierErrorCode, message: string) {
    super(message);
    this.name = 'PacketTierError';
    this.code = code;
  }
}
