// SPDX-License-Identifier: Apache-2.0
/** What the page and the thread of its fleet say to each other. */
import type { NodeKey } from '@marcher/client/fleet';
import type { StatePatch } from '@marcher/client/fleet/mirror';

/** Where the page's agents are. */
export interface FleetPlace {
  /** The page's origin. */
  readonly base: string;
  /** In the desktop app, by its name. undefined: that of the gateway which has served the page. */
  readonly mesh: string | undefined;
}

export type ToFleet =
  | { readonly kind: 'pause' }
  | { readonly kind: 'resume' }
  | { readonly kind: 'retry'; readonly node: NodeKey }
  /** Of these services, in place of those before, a history is wanted. */
  | { readonly kind: 'watch'; readonly services: readonly string[] }
  /** The patch is taken: another may come. */
  | { readonly kind: 'taken' };

export type FromFleet = { readonly kind: 'patch'; readonly patch: StatePatch };

/** The first that a thread is told. */
export interface BeginFleet extends FleetPlace {
  readonly kind: 'begin';
}

/** One end of the way between the two: a Worker, or what a worker sees of its page. */
export interface Port<Sent, Heard> {
  postMessage(message: Sent, transfer: ArrayBuffer[]): void;
  addEventListener(type: 'message', listener: (event: { readonly data: Heard }) => void): void;
}
