// SPDX-License-Identifier: Apache-2.0
/** What each method takes and gives. The main process checks both: what comes, and that nothing more goes out than is said here. */
import { z } from 'zod';
import { type AssistantMethod, assistantContract } from './assistant-contract.js';
import type { Method } from './names.js';
import { type SessionMethod, sessionContract } from './session-contract.js';
import { meshName, type Shape, shape } from './shape.js';
import { type TerminalMethod, terminalContract } from './terminal-contract.js';

const mesh = z.object({
  name: meshName,
  /** Where its entry agent is, as it was given. No secrets. */
  url: z.string().max(1_024),
  isChosen: z.boolean(),
  /** Who is logged in there. */
  user: z.string().max(256).optional(),
});

/**
 * open: secrets can be read and kept. locked: by a passphrase. new: the system keeps no secrets here, and a passphrase has to
 * be chosen before there can be any.
 */
const vaultState = z.enum(['open', 'locked', 'new']);

/** Nothing but a page of the web, without a user or a password in its address. */
const link = z
  .url({ protocol: /^https$/ })
  .max(2_048)
  .refine((text) => {
    const url = URL.parse(text);
    return url?.username === '' && url.password === '';
  }, 'expected an address without user and password');

/** What only the person knows, such as the passphrase of a key, or whether a server's key is the right one. */
const question = z.object({
  id: z.int().positive(),
  title: z.string().max(300),
  /** Lines. Texts of servers are in them, without control characters. */
  text: z.array(z.string().max(2_000)).max(16),
  /** None: it is a matter of yes or no. */
  fields: z.array(z.object({ label: z.string().max(300), isSecret: z.boolean() })).max(16),
  /** What the button is called that goes on. */
  action: z.string().max(60),
  /** Whether the answer may be kept in the vault. */
  mayKeep: z.boolean(),
});

/** null: the person does not answer that. */
const answers = z.array(z.string().max(4_096)).max(16).nullable();

export const contract = {
  /** The most that an address book has, and this machine's. */
  meshes: shape(z.tuple([]), z.array(mesh).max(1_001)),
  /** The page shows that one from now on; it is shown first the next time, too. */
  chooseMesh: shape(z.tuple([meshName]), z.void()),
  vaultState: shape(z.tuple([]), vaultState),
  /** Opens it, or where there is none makes one. 8 characters or more, for what is read by whoever has the file. */
  openVault: shape(z.tuple([z.string().min(8).max(1_024)]), vaultState),
  closeVault: shape(z.tuple([]), vaultState),
  /** Takes all secrets out of the vault, also where nobody knows its passphrase any more. */
  forgetSecrets: shape(z.tuple([]), vaultState),
  /** Waits for one whose id is larger. */
  nextQuestion: shape(z.tuple([z.int().nonnegative()]), question),
  /** id, answers, whether they are to be kept. */
  answerQuestion: shape(z.tuple([z.int().positive(), answers, z.boolean()]), z.void()),
  openLink: shape(z.tuple([link]), z.void()),
  ...terminalContract,
  ...assistantContract,
  ...sessionContract,
} satisfies Record<Method, Shape>;

type Contract = typeof contract;

export type Question = z.output<typeof question>;
export type Mesh = z.output<typeof mesh>;
export type VaultState = z.output<typeof vaultState>;

/** What answers in the main process. */
export type Handlers = {
  readonly [Name in Method]: (
    ...parameters: z.output<Contract[Name]['parameters']>
  ) => Promise<z.input<Contract[Name]['result']>> | z.input<Contract[Name]['result']>;
};

/** Of meshes, secrets and questions; those of the Terminal page, of setting up and of sessions have files of their own. */
export type PageHandlers = Omit<Handlers, 'openLink' | TerminalMethod | AssistantMethod | SessionMethod>;

/** What the renderer finds as `marcher`. Fails as Error with a sentence. */
export type Bridge = {
  readonly [Name in Method]: (
    ...parameters: z.input<Contract[Name]['parameters']>
  ) => Promise<z.output<Contract[Name]['result']>>;
};
