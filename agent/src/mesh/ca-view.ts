// SPDX-License-Identifier: Apache-2.0
/** The mesh's CA as this node sees it: certificates in use, who has which root, and what is to be told of that. */
import { readCertificate } from '../adapters/outbound/identity/certificate-facts.js';
import type { NodeCondition } from '../application/node.js';
import type { CertificateFacts } from '../domain/identity/certificate.js';
import { isOffline, parentOf } from '../domain/identity/issuer.js';
import { LIFETIME } from '../domain/identity/lifetime.js';
import type { RootRecord } from '../domain/identity/root-statement.js';
import {
  blockers,
  inForce,
  isNewerRoot,
  pendingRoot,
  short,
  signingRoot,
  signs,
  type TrustedRoot,
  trustedRoots,
} from '../domain/identity/trust.js';
import { type CaView, type HeldRoots, type Leaf, waitingFor } from '../domain/mesh/root-rotation.js';
import type { MeshCaView, MeshLeafView, MeshRootView, RootState } from '../ports/mesh.js';
import type { Part } from './part.js';

const DAY_MS = 86_400_000;
/** A root has ten years, and a change takes weeks where members are away. */
const EXPIRES_SOON_MS = 365 * DAY_MS;
/** An intermediate has three; what it signs for longer ends with it. */
const INTERMEDIATE_SOON_MS = 180 * DAY_MS;
/** Members take a new root at once, and its certificate begins some minutes before: who has not by then does not. */
const TAKEN_MS = LIFETIME.backdateMs + 60_000;
/** Longer than a member's certificate lives: who still has one of the old root is an operator. */
const RENEWED_MS = 31 * DAY_MS;
const NAMED_MAX = 5;

const read = new WeakMap<Uint8Array, CertificateFacts | undefined>();

/** Certificates that are in use, as far as this node knows: of members what they said last, of others all. */
export function leavesInUse({ identity, nodes, clients, certificates: { services } }: Part): Leaf[] {
  const leaves: Leaf[] = [];
  for (const { name, certificates } of nodes.members.values()) {
    const certificate = factsOf(certificates[0]);
    if (certificate !== undefined) leaves.push({ certificate, name, kind: 'member' });
  }
  for (const { serial, user, issuedMs, expiresMs, issuerKeyId, revokedMs } of clients.list()) {
    if (revokedMs !== undefined) continue;
    const issuer = issuerKeyId || signingRoot(identity.roots, issuedMs)?.certificate.keyId || '';
    const certificate = { serial, notBeforeMs: issuedMs, notAfterMs: expiresMs, issuerKeyId: issuer };
    leaves.push({ certificate, name: user, kind: 'client' });
  }
  for (const { name, source, facts, revokedMs } of services.list()) {
    if (source === 'issued' && revokedMs === undefined) leaves.push({ certificate: facts.leaf, name, kind: 'service' });
  }
  return leaves;
}

/** Records are read again at each look, and are what they were nearly always. */
function factsOf(der: Uint8Array | undefined): CertificateFacts | undefined {
  if (der === undefined) return undefined;
  if (!read.has(der)) read.set(der, readOrNot(der));
  return read.get(der);
}

function readOrNot(der: Uint8Array): CertificateFacts | undefined {
  try {
    return readCertificate(der);
  } catch {
    return undefined;
  }
}

export interface Known {
  readonly part: Part;
  readonly view: CaView;
  readonly own: HeldRoots;
  readonly records: ReadonlyMap<string, RootRecord>;
}

export function caView(known: Known): MeshCaView {
  const { view, part } = known;
  // Those that sign nobody's certificates are below the others.
  const order = (one: TrustedRoot, other: TrustedRoot): number =>
    Number(isOffline(one.certificate)) - Number(isOffline(other.certificate)) || (isNewerRoot(one, other) ? -1 : 1);
  const roots = [...view.roots].sort(order);
  const pending = pendingRoot(view.roots, view.nowMs)?.certificate.fingerprint ?? '';
  return {
    roots: roots.map((root) => rootView(known, root)),
    waitingFor: waitingFor(view).map((id) => nameOf(part, id)),
    hastened: view.plans.get(pending)?.hastened ?? false,
  };
}

export function rootView({ part, view, own, records }: Known, root: TrustedRoot): MeshRootView {
  const { nowMs } = view;
  const { fingerprint, notBeforeMs, notAfterMs } = root.certificate;
  const all: [string, HeldRoots][] = [[part.identity.nodeId, own], ...view.said];
  const named = (has: (held: HeldRoots) => readonly string[]): string[] =>
    all.flatMap(([id, held]) => (has(held).includes(fingerprint) ? [nameOf(part, id)] : [])).sort();
  const record = records.get(fingerprint);
  return {
    fingerprint,
    issuer: parentOf(view.roots, root.certificate)?.certificate.fingerprint ?? '',
    serial: root.certificate.serial,
    state: stateOf(root, view),
    createdMs: notBeforeMs,
    expiresMs: notAfterMs,
    plannedMs: record === undefined || record.plannedMs <= notBeforeMs ? undefined : record.plannedMs,
    signsFromMs: root.signsFromMs,
    retiredMs: root.retiredAtMs,
    trustedBy: named(({ trusted }) => trusted),
    keyHeldBy: named(({ keys }) => keys),
    leaves: blockers(root, view.leaves, nowMs).map(leafView),
  };
}

export function leafView({ kind, name, certificate }: Leaf): MeshLeafView {
  return { kind, name, serial: certificate.serial, expiresMs: certificate.notAfterMs };
}

const OF = { member: '', client: 'user ', service: 'certificate ' } as const;

/** "node2, user alice and 3 more" */
export function namesOf(leaves: readonly Pick<Leaf, 'kind' | 'name'>[]): string {
  const names = leaves.slice(0, NAMED_MAX).map(({ kind, name }) => `${OF[kind]}${name}`);
  const more = leaves.length - names.length;
  return `${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function nameOf({ nodes }: Part, nodeId: string): string {
  return nodes.members.get(nodeId)?.name ?? nodeId;
}

function stateOf(root: TrustedRoot, { roots, nowMs }: CaView): RootState {
  // That is decided, and in force within seconds.
  if (root.retiredAtMs !== undefined) return 'retired';
  if (!inForce(root, nowMs)) return 'expired';
  if (isOffline(root.certificate)) return 'offline';
  if (root === signingRoot(roots, nowMs)) return 'signs';
  return signs(root, nowMs) ? 'trusted' : 'introduced';
}

/** keyFailure: why this node has not the key of the newest root, though it signs; empty: it has, or it does not. */
export function caConditions({ part, view, own }: Known, keyFailure: string): NodeCondition[] {
  const { nowMs, roots } = view;
  const found: NodeCondition[] = [];
  const add = (reason: string, message: string): void => {
    found.push({ type: 'MeshRoots', status: false, reason, message });
  };
  const issuer = ownRoot(part);
  if (issuer?.retiredAtMs !== undefined && !inForce(issuer, nowMs)) {
    add('CertificateRetired', retiredReason(issuer.retiredAtMs));
    return found;
  }
  const signing = signingRoot(roots, nowMs);
  const pending = pendingRoot(roots, nowMs);
  if (keyFailure !== '') add('KeyNotTaken', keyFailure);
  if (pending !== undefined && nowMs - pending.certificate.notBeforeMs > TAKEN_MS) addPending(pending);
  if (signing?.signsFromMs !== undefined && nowMs - signing.signsFromMs > RENEWED_MS) {
    for (const root of trustedRoots(roots, nowMs)) {
      const left = isNewerRoot(signing, root) ? blockers(root, view.leaves, nowMs) : [];
      if (left.length === 0) continue;
      const id = short(root.certificate.fingerprint);
      const fix = `issue them others, or cut them off: marcher mesh ca retire ${id} --force`;
      add('NotRetired', `root ${id} is still needed by the certificates of ${namesOf(left)}: ${fix}`);
    }
  }
  if (pending === undefined && signing !== undefined) addExpiry(signing);
  return found;

  function addExpiry({ certificate }: TrustedRoot): void {
    const soon = (ms: number, withinMs: number): string | undefined =>
      ms - nowMs < withinMs ? new Date(ms).toISOString().slice(0, 10) : undefined;
    const parent = parentOf(roots, certificate)?.certificate;
    const rootEnds = soon(parent?.notAfterMs ?? Number.POSITIVE_INFINITY, EXPIRES_SOON_MS);
    if (rootEnds !== undefined) {
      const fix = 'make another (marcher mesh ca rotate --root-key FILE --root-key-out FILE)';
      add('ExpiresSoon', `the offline root expires on ${rootEnds}: ${fix}`);
      return;
    }
    const ends = soon(certificate.notAfterMs, parent === undefined ? EXPIRES_SOON_MS : INTERMEDIATE_SOON_MS);
    if (ends === undefined) return;
    const what = parent === undefined ? 'root' : 'intermediate';
    const fix = `make another (marcher mesh ca rotate${parent === undefined ? '' : ' --root-key FILE'})`;
    add('ExpiresSoon', `the ${what} that signs expires on ${ends}: ${fix}`);
  }

  function addPending({ certificate: { fingerprint } }: TrustedRoot): void {
    const id = short(fingerprint);
    const held =
      own.keys.includes(fingerprint) || [...view.said.values()].some(({ keys }) => keys.includes(fingerprint));
    if (!held) {
      const fix = 'start the node that made it, or make another (marcher mesh ca rotate)';
      add(
        'KeyMissing',
        `no member is known to hold the key of the new root ${id}, which does not sign without: ${fix}`,
      );
      return;
    }
    const lacking = waitingFor(view).map((nodeId) => ({ kind: 'member' as const, name: nameOf(part, nodeId) }));
    if (lacking.length === 0) return;
    const planned = view.plans.get(fingerprint)?.plannedMs;
    const when =
      planned === undefined ? '' : `, and will be cut off when it signs at ${new Date(planned).toISOString()}`;
    const fix = 'upgrade them, see their logs, or remove them';
    add('NotTaken', `the new root ${id} or its key is not taken by ${namesOf(lacking)}${when}: ${fix}`);
  }
}

const issuers = new WeakMap<object, string>();

/** Asked with each status, and read once for each certificate. */
function ownIssuer(credentials: Part['credentials']): string {
  const known = issuers.get(credentials);
  if (known !== undefined) return known;
  const { issuerKeyId } = readCertificate(credentials.certificatePem);
  issuers.set(credentials, issuerKeyId);
  return issuerKeyId;
}

/** Which has signed what this node shows; undefined: it knows none such. */
export function ownRoot({ identity, credentials }: Part): TrustedRoot | undefined {
  const issuerKeyId = ownIssuer(credentials);
  return identity.roots.find(({ certificate }) => certificate.keyId === issuerKeyId);
}

/** Of what this node itself shows. */
export function retiredReason(retiredAtMs: number): string {
  const what = `this node's certificate was signed by a root that the mesh retired at ${new Date(retiredAtMs).toISOString()}`;
  return `${what}, and no member takes it: join again with a new token, after marcher mesh leave --force here`;
}
