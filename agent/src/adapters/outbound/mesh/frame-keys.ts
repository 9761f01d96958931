// SPDX-License-Identifier: Apache-2.0
/**
 * Keys that frames are signed by. Each node has one of Ed25519 (RFC 8032): it signs and is verified many times quicker
 * than the P-384 of certificates, and stays when those are renewed. A certificate's key vouches for it in the node's
 * record, which is believed for that and for nothing else that its writer may have put there.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  type KeyObject,
  sign,
  verify,
  type X509Certificate,
} from 'node:crypto';
import { join } from 'node:path';
import { CURVE } from '@marcher/ca/x509';
import { isOffline } from '../../../domain/identity/issuer.js';
import { nodeNumber } from '../../../domain/identity/names.js';
import { judgePeer } from '../../../domain/identity/peer.js';
import { NO_REVOCATIONS } from '../../../domain/identity/revocation.js';
import type { TrustedRoot } from '../../../domain/identity/trust.js';
import { frameKeyClaim, type NodeRecord } from '../../../domain/mesh/node-record.js';
import type { Hash, NodeId } from '../../../domain/replication/contract.js';
import { IdentityError } from '../../../ports/identity.js';
import { factsOf, parseCertificate } from '../identity/certificate-facts.js';
import { damaged, prepareDirectory, readRecord, writeRecord } from '../identity/record-file.js';

const KIND = 'frame-key';
const FILE_MAX_BYTES = 4_096;
const HASH_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** ECDSA in the form of IEEE P1363: r and s, of 48 bytes each. */
const CLAIM_ENCODING = 'ieee-p1363';
const CLAIM_HASH = 'sha384';

/** SHA-256. */
export const frameHash: Hash = (bytes) => hash('sha256', bytes, 'buffer');

export interface FrameSigner {
  /** Private: for what else it signs, which must be told apart from a hash of 32 bytes. */
  readonly key: KeyObject;
  /** Raw, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Raw, 64 bytes. */
  sign(hash: Uint8Array): Uint8Array;
  /**
   * For the node's record, 96 bytes: that this is the node's frame key, by the key of its certificate (PEM). Fails as
   * IdentityError "invalid".
   */
  claim(certificateKeyPem: string): Uint8Array;
}

/**
 * This node's key, made when there is none. Fails as IdentityError: one that is damaged is not replaced, since others
 * would not believe the frames that it has signed so far.
 */
export function openFrameSigner(identityDirectory: string): FrameSigner {
  prepareDirectory(identityDirectory);
  const path = join(identityDirectory, KIND);
  const body = readRecord(path, KIND, FILE_MAX_BYTES);
  const key = body === undefined ? makeKey(path) : readKey(path, body);
  const publicKey = Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x ?? '', 'base64url');
  return {
    key,
    publicKey,
    sign: (hashed) => sign(null, hashed, key),
    claim(certificateKeyPem) {
      try {
        const certificateKey = createPrivateKey(certificateKeyPem);
        if (certificateKey.asymmetricKeyDetails?.namedCurve === CURVE) {
          return sign(CLAIM_HASH, frameKeyClaim(publicKey), {
            key: certificateKey,
            dsaEncoding: CLAIM_ENCODING,
          });
        }
      } catch {
        // Said below, without quoting what is in it.
      }
      throw new IdentityError('invalid', "the key of this node's certificate is not one of curve P-384");
    },
  };
}

function makeKey(path: string): KeyObject {
  const { privateKey } = generateKeyPairSync('ed25519');
  writeRecord(path, KIND, privateKey.export({ format: 'pem', type: 'pkcs8' }).toString());
  return privateKey;
}

function readKey(path: string, body: string): KeyObject {
  let key: KeyObject | undefined;
  try {
    key = createPrivateKey(body);
  } catch {
    key = undefined;
  }
  if (key?.asymmetricKeyType !== 'ed25519') throw damaged(path, 'it has no Ed25519 key');
  return key;
}

/** Judging one record takes some ms of P-384: of a large mesh, most are judged when they first sign something. */
const JUDGED_AT_ONCE = 8;

interface Voucher {
  readonly key: KeyObject;
  /** Fingerprint of the root that signed the certificate. */
  readonly root: string;
}

interface Entry {
  /** Of what the verdict depends on: records are often written anew for other reasons. */
  readonly content: string;
  /** The record, until it is judged. */
  verdict: NodeRecord | Voucher | 'refused';
}

/** Whose signature a frame has, by the records of nodes that are in the mesh. */
export class FrameVerifier {
  readonly #meshId: string;
  readonly #refused: (nodeId: string, reason: string) => void;
  #rootsKey = '';
  /** By key id. */
  #roots: ReadonlyMap<string, { readonly certificate: X509Certificate; readonly fingerprint: string }> = new Map();
  #entries: ReadonlyMap<NodeId, Entry> = new Map();

  /**
   * refused: whose frames are not believed, and why; once for each content of a record and each set of roots, when it
   * is judged. It may not throw.
   */
  constructor(meshId: string, refused: (nodeId: string, reason: string) => void) {
    this.#meshId = meshId;
    this.#refused = refused;
  }

  /**
   * All records there are, as unpackNodeRecord() has let them through, and the roots that have ever signed certificates
   * for nodes. A few that are new are judged at once, others by their first frame.
   */
  update(records: Iterable<NodeRecord>, roots: readonly TrustedRoot[]): void {
    const rootsChanged = this.#setRoots(roots);
    const trusted = new Set(roots.map(({ certificate }) => certificate.fingerprint));
    const stands = ({ verdict }: Entry): boolean => {
      if (verdict === 'refused') return !rootsChanged;
      return 'root' in verdict ? trusted.has(verdict.root) : true;
    };
    const entries = new Map<NodeId, Entry>();
    for (const record of records) {
      const node = nodeNumber(record.nodeId);
      const content = contentOf(record);
      const known = this.#entries.get(node);
      entries.set(node, known?.content === content && stands(known) ? known : { content, verdict: record });
    }
    this.#entries = entries;
    let judged = 0;
    for (const entry of entries.values()) {
      if (entry.verdict === 'refused' || 'root' in entry.verdict) continue;
      if (++judged > JUDGED_AT_ONCE) return;
      this.#voucherOf(entry);
    }
  }

  /** As Environment.verify wants it: whatever it is given, it does not throw. */
  verify(node: NodeId, hashed: Uint8Array, signature: Uint8Array): boolean {
    const entry = this.#entries.get(node);
    if (entry === undefined || hashed.length !== HASH_BYTES || signature.length !== SIGNATURE_BYTES) return false;
    const voucher = this.#voucherOf(entry);
    try {
      return voucher !== undefined && verify(null, hashed, voucher.key, signature);
    } catch {
      return false;
    }
  }

  /** Public, by which that node signs; undefined: it is not known, or not believed. */
  keyOf(node: NodeId): KeyObject | undefined {
    const entry = this.#entries.get(node);
    return entry && this.#voucherOf(entry)?.key;
  }

  /** Returns whether they are others than before. */
  #setRoots(trusted: readonly TrustedRoot[]): boolean {
    const key = trusted
      .map(({ certificate }) => certificate.fingerprint)
      .sort()
      .join();
    if (key === this.#rootsKey) return false;
    this.#rootsKey = key;
    const signing = trusted.filter(({ certificate }) => !isOffline(certificate));
    const roots = signing.map(({ certificate: { keyId, fingerprint }, pem }) => {
      return [keyId, { certificate: parseCertificate(pem), fingerprint }] as const;
    });
    this.#roots = new Map(roots);
    return true;
  }

  #voucherOf(entry: Entry): Voucher | undefined {
    const { verdict } = entry;
    const judged = verdict === 'refused' || 'root' in verdict ? verdict : this.#judge(verdict);
    entry.verdict = judged;
    return judged === 'refused' ? undefined : judged;
  }

  #judge(record: NodeRecord): Voucher | 'refused' {
    const { nodeId, frameKey, frameKeySignature, certificates } = record;
    const claim = frameKeyClaim(frameKey);
    let reason = 'its record has no certificate';
    for (const [index, bytes] of certificates.entries()) {
      try {
        const certificate = parseCertificate(bytes);
        const signer = this.#signerOf(certificate, nodeId);
        if ('root' in signer) {
          const key = { key: certificate.publicKey, dsaEncoding: CLAIM_ENCODING } as const;
          if (verify(CLAIM_HASH, claim, key, frameKeySignature)) return { key: publicKeyOf(frameKey), ...signer };
          reason = 'its frame key is not vouched for by the key of its certificate';
        } else if (index === 0) reason = signer.fault;
      } catch (error) {
        if (index === 0) reason = error instanceof IdentityError ? error.message : 'its frame key can not be read';
      }
    }
    this.#refused(nodeId, `its frames are not believed: ${reason}`);
    return 'refused';
  }

  /** At the end of its own time, for frames are older than certificates: only whether it was ever that node's. */
  #signerOf(certificate: X509Certificate, nodeId: string): { readonly root: string } | { readonly fault: string } {
    const facts = factsOf(certificate);
    const rules = {
      meshId: this.#meshId,
      rootKeyIds: [...this.#roots.keys()],
      revocations: NO_REVOCATIONS,
      role: 'client',
    } as const;
    const judged = judgePeer({ certificate: facts, chainError: undefined }, rules, facts.notAfterMs);
    if (judged.kind === 'refused') return { fault: judged.reason };
    if (judged.peer.nodeId !== nodeId) return { fault: `its certificate is that of node ${judged.peer.nodeId}` };
    if (facts.curve !== CURVE) return { fault: 'the key of its certificate is not of curve P-384' };
    const root = this.#roots.get(facts.issuerKeyId);
    if (
      root === undefined ||
      !certificate.checkIssued(root.certificate) ||
      !certificate.verify(root.certificate.publicKey)
    ) {
      return { fault: 'its certificate names a root of this mesh that has not signed it' };
    }
    return { root: root.fingerprint };
  }
}

function publicKeyOf(raw: Uint8Array): KeyObject {
  const x = Buffer.from(raw).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}

function contentOf({ frameKey, frameKeySignature, certificates }: NodeRecord): string {
  const digest = createHash('sha256');
  for (const part of [frameKey, frameKeySignature, ...certificates]) digest.update(`${part.length} `).update(part);
  return digest.digest('base64');
}
