// SPDX-License-Identifier: Apache-2.0
/**
 * Messages of memberlist's protocol, version 5, as the core handles them: what stands on the wire is for the codec beside
 * this file. Field names on the wire are those of memberlist's Go structs; addresses are 4 or 16 bytes there.
 */

/** As memberlist counts them. */
export type MemberState = 'alive' | 'suspect' | 'dead' | 'left';

/**
 * Host without brackets, as text: 192.0.2.1 or 2001:db8::1 (RFC 5952). Port 0: not said, by which memberlist means the port
 * that the receiver itself is bound to.
 */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What a node speaks: least, most and current version of the protocol, then the same of what its user's delegate speaks. */
export interface Versions {
  readonly protocol: readonly [min: number, max: number, current: number];
  readonly delegate: readonly [min: number, max: number, current: number];
}

/** source: absent from nodes that speak an older version. */
export interface Ping {
  readonly type: 'ping';
  readonly seq: number;
  /** Whom the sender means: another name answers nothing. Empty: whomever it reaches. */
  readonly node: string;
  readonly source?: Address & { readonly node: string };
}

export interface IndirectPing {
  readonly type: 'indirect-ping';
  readonly seq: number;
  readonly target: Address;
  readonly node: string;
  /** The sender understands nack, and wants one. */
  readonly nack: boolean;
  readonly source?: Address & { readonly node: string };
}

export interface Ack {
  readonly type: 'ack';
  readonly seq: number;
  readonly payload: Uint8Array;
}

export interface Nack {
  readonly type: 'nack';
  readonly seq: number;
}

export interface Suspect {
  readonly type: 'suspect';
  readonly incarnation: number;
  readonly node: string;
  readonly from: string;
}

export interface Alive {
  readonly type: 'alive';
  readonly incarnation: number;
  readonly node: string;
  readonly address: Address;
  /** At most 512 bytes. */
  readonly meta: Uint8Array;
  readonly versions: Versions;
}

/** from equal to node: it has left. */
export interface Dead {
  readonly type: 'dead';
  readonly incarnation: number;
  readonly node: string;
  readonly from: string;
}

export interface User {
  readonly type: 'user';
  readonly body: Uint8Array;
}

/** What datagrams carry, alone or compound. */
export type Message = Ping | IndirectPing | Ack | Nack | Suspect | Alive | Dead | User;

export interface NodeState {
  readonly name: string;
  readonly address: Address;
  readonly meta: Uint8Array;
  readonly incarnation: number;
  readonly state: MemberState;
  readonly versions: Versions;
}

export interface PushPull {
  readonly type: 'push-pull';
  readonly nodes: readonly NodeState[];
  /** The user's state, as its delegate has made it. */
  readonly user: Uint8Array;
  /** Sent by a node that joins: the other side asks its delegate whether it may. */
  readonly join: boolean;
}

/** What the other side of a stream refuses. */
export interface ErrorReply {
  readonly type: 'error';
  readonly message: string;
}

/** What streams carry: one request, and one reply to push-pull and ping. */
export type StreamMessage = PushPull | Ping | Ack | User | ErrorReply;
