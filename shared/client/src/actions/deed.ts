// SPDX-License-Identifier: Apache-2.0
/**
 * A write that no agent plans: of users, keys, certificates, members. In the place of a plan stands what it will do, in words, and
 * what is looked at again before it is done; in the place of a diff what it has done, and what takes it back.
 */
import { AgentError } from '../agent-error.js';
import type { CommandTarget } from './command.js';
import type { Confirmation } from './confirmation.js';

export interface Deed {
  /** "revoke certificate web" */
  readonly title: string;
  readonly confirmation: Confirmation;
  /** What comes of it, a sentence each. */
  readonly consequences: readonly string[];
  /** Why nothing takes it back, in a sentence. undefined: Done.undo does. */
  readonly lasting: string | undefined;
  /** AgentError: 'conflict' where what it is about is not what the person has seen; nothing was changed then. */
  apply(signal?: AbortSignal): Promise<Done>;
  /** Lines of a shell that do the same. Without secrets: the commands ask for them. */
  asCommand(target?: CommandTarget): string;
}

export interface Done {
  /** In a sentence. */
  readonly text: string;
  /** In this answer alone. */
  readonly secret?: ShownOnce;
  readonly undo?: Deed;
  /** It is not complete without that. */
  readonly next?: NextDeed;
}

/** What an answer has to be known for, which nobody could give before. */
export interface NextDeed {
  readonly title: string;
  /** Of the answer. */
  readonly label: string;
  /** answer: SECRET */
  make(answer: string): Deed;
}

export interface ShownOnce {
  /** "API key ci" */
  readonly what: string;
  /** Lines. */
  readonly text: string;
  /** What to do with it. */
  readonly advice: string;
  /** What a QR code of it has. */
  readonly qr?: string;
}

/** What is asked before is plain: nobody loses anything by it. */
export function plainly(title: string): Confirmation {
  return { kind: 'plain', question: `${capitalised(title)}?` };
}

/** The text is to be typed. */
export function byTyping(title: string, text: string): Confirmation {
  return { kind: 'typed', question: `${capitalised(title)}?`, text };
}

export function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** For calls. */
export function within(signal: AbortSignal | undefined): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** "user alice" is not what was looked at. */
export function changedSince(what: string): AgentError {
  const message = `${what}: somebody else has changed it since it was looked at; nothing was done. Look at it again`;
  return new AgentError('conflict', message, [], undefined);
}

export function goneSince(what: string): AgentError {
  return new AgentError('conflict', `${what}: it is not there any more; nothing was done`, [], undefined);
}
