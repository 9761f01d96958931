// SPDX-License-Identifier: Apache-2.0
/** A root or an intermediate is trusted no more: by the word of the one that signs. */
import { listIssuer, readRevocations } from '../adapters/outbound/identity/revocation-list.js';
import { listId, listRemoval, listWrites, readLists } from '../application/mesh/revocations.js';
import { introductionWrites, ROOT_KIND, retirementWrite, rootRemoval } from '../application/mesh/roots.js';
import { ACTION } from '../domain/audit/actions.js';
import { parentOf } from '../domain/identity/issuer.js';
import { nextCrlNumber } from '../domain/identity/revocation.js';
import type { RootStatement } from '../domain/identity/root-statement.js';
import { FORGET_DAYS, short, type TrustedRoot } from '../domain/identity/trust.js';
import type { CellWrite } from '../domain/replication/contract.js';
import { IdentityError } from '../ports/identity.js';
import type { Caller } from '../ports/use-cases.js';
import { bare, type CaDesk, signingKey } from './ca-desk.js';
import type { Part } from './part.js';
import { takenBack } from './revoking.js';

/** All that are there hear of it before connections that were opened by certificates of it are closed. */
const FAREWELL_MS = 2_000;
const DAY_MS = 86_400_000;
const NODE_DIGITS = 16;

/** With it goes what it alone had said: revocations are in a list of the root that signs from then on. caller: undefined: the mesh. */
export async function retireNow(
  desk: CaDesk,
  root: TrustedRoot,
  caller: Caller | undefined,
  consequence: string,
  revoked: readonly CellWrite[] = [],
): Promise<void> {
  const { part, records } = desk;
  const { identity, revocations, cells, options } = part;
  const { fingerprint, keyId } = root.certificate;
  const signing = signingKey(part);
  const nowMs = Date.now();
  const statement: RootStatement = { kind: 'retire', root: fingerprint, atMs: nowMs + FAREWELL_MS };
  const word = { atMs: statement.atMs, by: await signing.say(statement) };
  const record = records.get(fingerprint);
  const lists = [...readLists(cells)].filter(([, pem]) => listIssuer(pem) === keyId);
  const all = takenBack(part, revocations);
  const number = nextCrlNumber(0n, nowMs, identity.nodeId);
  const list = all.size === 0 ? undefined : await signing.signRevocations(all, number, nowMs);
  const old = [...records].filter(([id, { retirement }]) => {
    return id !== fingerprint && retirement !== undefined && nowMs - retirement.atMs > FORGET_DAYS * DAY_MS;
  });
  const writes = [
    ...(record === undefined
      ? introductionWrites(fingerprint, { ...bare(root), retirement: word })
      : [retirementWrite(fingerprint, word)]),
    ...(list === undefined ? [] : listWrites(listId(identity.nodeId, signing.certificate.fingerprint), list.pem)),
    ...lists.map(([id]) => listRemoval(id)),
    ...old.map(([id]) => rootRemoval(id)),
    ...revoked,
  ];
  const message = `root ${short(fingerprint)} is retired${consequence}`;
  desk.write(caller, message, writes, {
    action: ACTION.retireRoot,
    objects: [`${ROOT_KIND}/${fingerprint}`],
    message,
  });
  options.log.info(
    { root: short(fingerprint), author: caller?.author ?? 'mesh' },
    `a root of the mesh is retired${consequence}`,
  );
  desk.learnNow();
}

/**
 * The list by which an offline root revokes an intermediate, for those who have only the root and such lists to go by. Each has
 * one of its own: the root signs none of all. Fails as IdentityError "invalid".
 */
export async function intermediateListWrites(
  { identity }: Part,
  { certificate }: TrustedRoot,
  pem: string,
): Promise<CellWrite[]> {
  const parent = parentOf(identity.roots, certificate);
  if (parent === undefined) throw new IdentityError('invalid', 'a list is given, and it is no intermediate');
  const { revocations } = await readRevocations(pem, [parent], Date.now());
  if (!revocations.has(certificate.serial)) {
    throw new IdentityError('invalid', 'the list does not name the intermediate that is to be retired');
  }
  const id = listId(certificate.fingerprint.slice(0, NODE_DIGITS), parent.certificate.fingerprint);
  return listWrites(id, pem);
}
