// SPDX-License-Identifier: Apache-2.0
/**
 * What the thread that runs a node and the one that uses it say to each other. Both are of one build: there are no
 * versions of it.
 */
import type { RememberedMember } from '../core/swim.js';
import type { Address, NodeState } from '../wire/message.js';
import type { NodeEvent } from './network-node.js';

export type Command =
  | { readonly do: 'join'; readonly addresses: readonly Address[] }
  | { readonly do: 'leave'; readonly timeoutMs: number }
  | { readonly do: 'update-meta'; readonly meta: Uint8Array }
  | { readonly do: 'broadcast'; readonly body: Uint8Array; readonly key: string | undefined }
  | { readonly do: 'send-best-effort'; readonly to: string; readonly body: Uint8Array }
  | { readonly do: 'send-reliable'; readonly to: string; readonly body: Uint8Array }
  | { readonly do: 'set-user-state'; readonly state: Uint8Array }
  | { readonly do: 'remember'; readonly members: readonly RememberedMember[] }
  | { readonly do: 'key'; readonly how: 'install' | 'use' | 'remove'; readonly key: Uint8Array }
  | { readonly do: 'keys' }
  | { readonly do: 'stats' }
  | { readonly do: 'close' };

export type ToNode =
  | { readonly type: 'command'; readonly id: number; readonly command: Command }
  /** So many events have been taken. */
  | { readonly type: 'taken'; readonly count: number };

export type FromNode =
  | { readonly type: 'started'; readonly address: Address }
  | { readonly type: 'not-started'; readonly error: Failure }
  | { readonly type: 'result'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failed'; readonly id: number; readonly error: Failure }
  | { readonly type: 'events'; readonly events: readonly NodeEvent[] }
  /** Events were left out because nobody took them: this is how things stand instead. */
  | { readonly type: 'resync'; readonly members: readonly NodeState[]; readonly lost: number };

/** An error without its class, which does not pass between threads. */
export interface Failure {
  readonly name: string;
  readonly message: string;
}
