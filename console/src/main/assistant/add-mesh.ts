// SPDX-License-Identifier: Apache-2.0
/** A target of the address book, as `marcher target add` makes it: what is added here commands know, too. */
import { fetchPinnedRoot, fingerprintOf, formatTarget, parseTarget, shownRoots, type Target } from '@marcher/client';
import { type NamedTarget, withTarget } from '@marcher/client/address-book';
import type { AddressBookFile } from '@marcher/client/address-book-file';
import type { RootView } from '../../ipc/assistant-contract.js';
import { ConsoleError } from '../ipc-server.js';

const HANDSHAKE_MS = 10_000;

export async function rootsAt(url: string): Promise<RootView[]> {
  const target = targetOf(url);
  if (target.kind !== 'tls') return [];
  return (await shownRoots(target, HANDSHAKE_MS)).map((root) => ({
    fingerprint: fingerprintOf(root),
    subject: root.subject.replaceAll('\n', ', ').slice(0, 500),
    expires: new Date(root.validTo).toISOString(),
  }));
}

/** fingerprint: absent, public CAs have to know the agent. Fails as ConsoleError, AgentError or AddressBookError. */
export async function addMesh(
  book: AddressBookFile,
  {
    name,
    url,
    fingerprint,
  }: { readonly name: string; readonly url: string; readonly fingerprint?: string | undefined },
): Promise<void> {
  const target = targetOf(url);
  if (target.kind === 'tcp') {
    throw new ConsoleError(`${url} is an address without TLS, which is for this machine alone: use https://HOST:PORT`);
  }
  const entry: NamedTarget = { url: formatTarget(target) };
  // Before anybody is asked.
  withTarget(book.read(), name, entry);
  const ca =
    fingerprint === undefined || target.kind !== 'tls'
      ? undefined
      : await fetchPinnedRoot(target, fingerprint, HANDSHAKE_MS);
  await book.update((before) => withTarget(before, name, ca === undefined ? entry : { ...entry, ca }));
}

function targetOf(url: string): Target {
  try {
    return parseTarget(url);
  } catch (error) {
    throw new ConsoleError((error as Error).message);
  }
}
