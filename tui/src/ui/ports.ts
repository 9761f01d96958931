// SPDX-License-Identifier: Apache-2.0
/** What the terminal console needs of the world. Whoever opens it brings them; tests bring their own. */
import type { Login } from '@marcher/client';
import type { FleetSource, NodeKey, Reach } from '@marcher/client/fleet';
import type { KeptSession } from '@marcher/client/session-watch';

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

/** A recording that is shown in the place of a mesh. */
export interface Player {
  /** Unix time, of its first line and its last. */
  readonly startMs: number;
  readonly endMs: number;
  readonly positionMs: number;
  isPlaying(): boolean;
  /** RecordingError: a line on the way can't be read. */
  seek(atMs: number): void;
  /** 1: as it was. Gives what it is now. */
  setSpeed(speed: number): number;
}

/** The session that the console is let in by. */
export interface ConsoleSession extends KeptSession {
  /** Who is logged in, or was. undefined: nobody. */
  user(): string | undefined;
  /** Begins another. */
  login(login: Login): Promise<void>;
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
  /** What else is said in the header: of a recording that is made, or shown. */
  readonly banner?: () => string;
  readonly player?: Player;
  /** Absent: it is let in by something else. */
  readonly session?: ConsoleSession;
}
