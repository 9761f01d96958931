// SPDX-License-Identifier: Apache-2.0
/** What the terminal console needs of the world. Whoever opens it brings them; tests bring their own. */
import type { FleetSource, NodeKey, Reach } from '@marcher/client/fleet';

/** The mesh as it is known. Each state replaces the one before. */
export interface ConsoleFleet extends FleetSource {
  /** The state stands; streams go on. */
  pause(): void;
  resume(): void;
  /** A node whose stream has ended is asked again now. */
  retry(node: NodeKey): void;
}

export interface Clock {
  nowMs(): number;
  /** Of no clock on the wall: it only goes on. */
  steadyMs(): number;
  /** Gives what cancels it. */
  after(ms: number, run: () => void): () => void;
}

/** Has a text edited by the operator. undefined: it was left as it was. */
export type Editor = (text: string, name: string) => Promise<string | undefined>;

export interface ConsolePorts {
  readonly fleet: ConsoleFleet;
  readonly reach: Reach;
  readonly clock: Clock;
  readonly editor: Editor;
  /** Hands the terminal back to the shell until it is continued. */
  suspend(): void;
  /** As the operator named it: for the header, and for commands that do the same. */
  readonly target: string;
  /** Why nothing can be changed from here at all; absent: it can, once it is unlocked. */
  readonly readOnly?: string;
}
