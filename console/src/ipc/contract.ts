// SPDX-License-Identifier: Apache-2.0
/** What each method takes and gives. The main process checks both: what comes, and that nothing more goes out than is said here. */
import { z } from 'zod';
import type { Method } from './names.js';

interface Shape<Parameters extends z.ZodTuple = z.ZodTuple, Result extends z.ZodType = z.ZodType> {
  readonly parameters: Parameters;
  readonly result: Result;
}

function shape<Parameters extends z.ZodTuple, Result extends z.ZodType>(
  parameters: Parameters,
  result: Result,
): Shape<Parameters, Result> {
  return { parameters, result };
}

/** A name of the address book. */
const meshName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'expected the name of a target');

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

export const contract = {
  /** The most that an address book has, and this machine's. */
  meshes: shape(z.tuple([]), z.array(mesh).max(1_001)),
  chooseMesh: shape(z.tuple([meshName]), z.void()),
  vaultState: shape(z.tuple([]), vaultState),
  /** Opens it, or where there is none makes one. 8 characters or more, for what is read by whoever has the file. */
  openVault: shape(z.tuple([z.string().min(8).max(1_024)]), vaultState),
  closeVault: shape(z.tuple([]), vaultState),
  openLink: shape(z.tuple([link]), z.void()),
} satisfies Record<Method, Shape>;

type Contract = typeof contract;

/** What answers in the main process. */
export type Handlers = {
  readonly [Name in Method]: (
    ...parameters: z.output<Contract[Name]['parameters']>
  ) => Promise<z.input<Contract[Name]['result']>> | z.input<Contract[Name]['result']>;
};

/** What the renderer finds as `marcher`. Fails as Error with a sentence. */
export type Bridge = {
  readonly [Name in Method]: (
    ...parameters: z.input<Contract[Name]['parameters']>
  ) => Promise<z.output<Contract[Name]['result']>>;
};
