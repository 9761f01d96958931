// SPDX-License-Identifier: Apache-2.0
/** What the modules of the mesh's CA share: ca.ts follows it, ca-orders.ts takes orders of operators, ca-retiring.ts ends trust. */
import { X509Certificate } from 'node:crypto';
import type { RootRecord, RootSignature, RootStatement } from '../domain/identity/root-statement.js';
import { isNewerRoot, signingRoot, type TrustedRoot, trustedRoots } from '../domain/identity/trust.js';
import type { CellWrite } from '../domain/replication/contract.js';
import type { CertificateAuthority } from '../ports/identity.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import type { Known } from './ca-view.js';
import { isRemoved } from './own-record.js';
import { applicationError, type Part } from './part.js';

export interface CaDesk {
  readonly part: Part;
  /** As it was replicated, by fingerprint. */
  readonly records: ReadonlyMap<string, RootRecord>;
  known(): Known;
  /** What this node has heard is in force. */
  learnNow(): void;
  /** Does what there is to do. */
  look(): void;
  /** caller: undefined: the mesh does it by itself. */
  write(caller: Caller | undefined, message: string, writes: readonly CellWrite[], told: ToldOfRoot): void;
}

export interface ToldOfRoot {
  readonly action: string;
  readonly objects: string[];
  readonly message: string;
}

/** Throws ApplicationError where this node can't change anything of the mesh. */
export function checkPresent(part: Part): void {
  if (isRemoved(part)) throw new ApplicationError('refused', 'this node is not in the mesh any more');
  if (part.replication.admitted) return;
  throw new ApplicationError('unavailable', "this node has not taken over the mesh's state yet: try again later");
}

/** Throws ApplicationError where this node does not sign. */
export function signingKey(part: Part): CertificateAuthority {
  checkPresent(part);
  const { authority } = part.identity;
  if (authority === undefined) throw holdsNone(part);
  return authority;
}

export function holdsNone({ nodes }: Part): ApplicationError {
  const names = [...nodes.members.values()].filter(({ role }) => role === 'authority').map(({ name }) => name);
  const who = names.length === 0 ? 'none is known that does' : `these do: ${names.slice(0, 5).join(', ')}`;
  return new ApplicationError('refused', `this node does not hold the key of the mesh's CA; ${who}`);
}

/** PEM, all that are trusted now, the one that signs first. */
export function bundleOf(roots: readonly TrustedRoot[], nowMs: number): string[] {
  const signing = signingRoot(roots, nowMs);
  const others = trustedRoots(roots, nowMs).filter((root) => root !== signing);
  const ordered = others.sort((one, other) => (isNewerRoot(one, other) ? -1 : 1));
  return [...(signing === undefined ? [] : [signing]), ...ordered].map(({ pem }) => pem);
}

export async function introductionOf(
  { certificate, pem }: Pick<TrustedRoot, 'certificate' | 'pem'>,
  plannedMs: number,
  hastened: boolean,
  endorsers: readonly CertificateAuthority[],
  given: readonly RootSignature[] = [],
): Promise<RootRecord> {
  const statement: RootStatement = { kind: 'introduce', root: certificate.fingerprint, atMs: plannedMs };
  const made = await Promise.all(endorsers.map((one) => one.say(statement)));
  const endorsements = [...given, ...made];
  return { certificate: derOf(pem), plannedMs, endorsements, hastened, signing: undefined, retirement: undefined };
}

/** Of a root that nobody has introduced: a mesh's first, or one that came with a join. */
export function bare({ certificate, pem }: TrustedRoot): RootRecord {
  const words = { endorsements: [], hastened: false, signing: undefined, retirement: undefined };
  return { certificate: derOf(pem), plannedMs: certificate.notBeforeMs, ...words };
}

function derOf(pem: string): Uint8Array {
  return new Uint8Array(new X509Certificate(pem).raw);
}

export async function guardedIdentity<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw applicationError(error);
  }
}
