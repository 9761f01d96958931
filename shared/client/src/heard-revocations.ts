// SPDX-License-Identifier: Apache-2.0
/** Asks an agent, once its certificate was verified, what the roots of its mesh have revoked, and keeps what is new. */
import { X509Certificate } from 'node:crypto';
import type { AgentClient } from './agent-client.js';
import { fingerprintOf } from './pinned-root.js';
import { type KnownRevocations, noRevocations, type SignedList, withLists } from './revocations.js';

export interface RevocationStore {
  read(root: string): KnownRevocations | undefined;
  write(known: KnownRevocations, nowMs: number): void;
}

export interface HeardRevocations {
  /** Of all the roots. */
  readonly known: readonly KnownRevocations[];
  /** Whether there is anything that was not known before: then the agent's own certificate is to be verified again. */
  readonly news: boolean;
}

/** What nodes say anew takes so long to be asked for. */
const EVERY_MS = 10 * 60_000;
const LISTS_MAX = 64;
/** As many as a mesh trusts. */
const INTERMEDIATES_MAX = 8;

export function knownRevocations(store: RevocationStore, roots: readonly X509Certificate[]): KnownRevocations[] {
  return roots.map((root) => store.read(fingerprintOf(root)) ?? noRevocations(fingerprintOf(root)));
}

export function isHearingDue(known: readonly KnownRevocations[], nowMs: number): boolean {
  return known.some(({ askedMs }) => nowMs - askedMs > EVERY_MS || askedMs > nowMs);
}

/** Fails as AgentError, or as Error where they can't be kept. */
export async function hearRevocations(
  agent: AgentClient,
  store: RevocationStore,
  roots: readonly X509Certificate[],
  before: readonly KnownRevocations[],
  call: { readonly timeoutMs: number },
  nowMs: () => number,
): Promise<HeardRevocations> {
  const [first] = before;
  // The answer is for all roots; it is left out where each has heard the same.
  const same = first !== undefined && before.every(({ digest }) => digest === first.digest);
  const knownDigest = Buffer.from(same ? first.digest : '', 'hex');
  const answer = await agent.mesh.listRevocations({ knownDigest }, call);
  const heard = answer.lists.length === 0 ? [] : await verified(answer, roots, nowMs());
  const digest = Buffer.from(answer.digest).toString('hex');
  const known = before.map((each) => ({ ...withLists(each, heard, nowMs()), askedMs: nowMs(), digest }));
  for (const each of known) store.write(each, nowMs());
  const numbers = (all: readonly KnownRevocations[]): string =>
    all.map(({ lists }) => lists.map(({ number }) => number).join()).join(' ');
  return { known, news: numbers(known) !== numbers(before) };
}

async function verified(
  { lists: pems, intermediates }: { readonly lists: readonly string[]; readonly intermediates: readonly string[] },
  roots: readonly X509Certificate[],
  nowMs: number,
): Promise<SignedList[]> {
  const { readList } = await import('./revocation-list.js');
  const between = intermediates.slice(0, INTERMEDIATES_MAX).flatMap(readCertificate);
  const lists: SignedList[] = [];
  for (const pem of pems.slice(0, LISTS_MAX)) {
    const list = await readList(pem, roots, nowMs, between);
    if (list !== undefined) lists.push(list);
  }
  return lists;
}

/** What is none signs nothing. */
function readCertificate(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)];
  } catch {
    return [];
  }
}
