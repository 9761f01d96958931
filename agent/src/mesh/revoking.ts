// SPDX-License-Identifier: Apache-2.0
/** Certificates of removed nodes, and those of operators and services that were taken back, are revoked by nodes that sign, and refused by all. */
import { uniteLists } from '../adapters/outbound/identity/revocation-list.js';
import { coalesced } from '../application/mesh/coalesced.js';
import { listId, listWrites, readLists, revokedSince } from '../application/mesh/revocations.js';
import { nextCrlNumber, type Revocations } from '../domain/identity/revocation.js';
import { trustedRoots } from '../domain/identity/trust.js';
import type { Part } from './part.js';

/**
 * Nodes that hold the CA's key sign what was asked for elsewhere: all of it by each root that is trusted, so that nothing is
 * forgotten when one is retired.
 */
export async function revokeWanted(part: Part): Promise<void> {
  const { identity, nodes, replication } = part;
  if (identity.keys.size === 0) return;
  const removed = revokedSince(part.revocations, nodes.known.values(), Date.now()) ?? part.revocations;
  const wanted = takenBack(part, removed);
  const trusted = trustedRoots(identity.roots, Date.now()).map(({ certificate }) => certificate.fingerprint);
  try {
    const lists = wanted.size === 0 ? undefined : readLists(part.cells);
    let signed = false;
    for (const [fingerprint, authority] of identity.keys) {
      const id = listId(identity.nodeId, fingerprint);
      if (lists === undefined || !trusted.includes(fingerprint)) continue;
      if (wanted === part.revocations && (trusted.length === 1 || lists.has(id))) continue;
      const number = nextCrlNumber(0n, Date.now(), identity.nodeId);
      const list = await authority.signRevocations(wanted, number, Date.now());
      replication.write('mesh', 'certificates are revoked', listWrites(id, list.pem));
      signed = true;
    }
    part.revocations = wanted;
    if (signed) await listsChanged(part);
  } catch (error) {
    part.options.log.error({ reason: String(error) }, 'what was removed or taken back could not be revoked yet');
  }
}

const LISTS_PAUSE_MS = 1_000;
const taking = new WeakMap<Part, () => Promise<void>>();

/** All lists are verified again, which takes its time: at most once a second, however often another writes its own. */
export function listsChanged(part: Part): Promise<void> {
  let take = taking.get(part);
  if (take === undefined) {
    take = coalesced(() => takeLists(part), LISTS_PAUSE_MS);
    taking.set(part, take);
  }
  return take();
}

async function takeLists(part: Part): Promise<void> {
  const { identity, cells, files } = part;
  const { log } = part.options;
  // It may have waited for its turn while this part ended, and the store was closed.
  if (part.timers.stopped) return;
  const lists = [...readLists(cells).values()];
  if (lists.length === 0) return;
  const { revocations, refused } = await uniteLists(lists, trustedRoots(identity.roots, Date.now()), Date.now());
  for (const reason of refused) log.warn({ reason }, 'a revocation list is not used');
  part.revocations = revocations;
  part.lists = lists;
  updateTls(part);
  try {
    files.saveRevocationLists(part.lists);
  } catch (error) {
    // They are with the replicated state, too.
    log.warn({ reason: String(error) }, 'the revocation lists could not be written');
  }
}

/** Those, and certificates of operators and services that are in no list yet. */
export function takenBack({ clients, certificates }: Part, revocations: Revocations): Revocations {
  return certificates.services.revoked(clients.revoked(revocations));
}

/** Connections go by what this node has now, those that are open too. */
export function updateTls(part: Part): void {
  const { identity, tls, credentials } = part;
  const revocations = takenBack(part, part.revocations);
  const material = { meshId: identity.mesh.id, credentials, roots: identity.roots, revocations };
  tls.update(material);
  part.options.onMaterial?.(material);
  part.server?.judgeAgain();
  part.links?.judgeAgain();
  part.relays?.judgeAgain();
}
