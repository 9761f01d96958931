// SPDX-License-Identifier: Apache-2.0
/** What this node is in its mesh: made by "mesh init", given by a join, read at each start. */
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  adoptAuthority,
  createAuthorityFile,
  exportAuthority,
  keepIntermediate,
  keepSealedAuthority,
  listAuthorityFiles,
  openAuthorityFile,
  readKeyFile,
} from './adapters/outbound/identity/authority-file.js';
import { readCertificate } from './adapters/outbound/identity/certificate-facts.js';
import { meshOf } from './adapters/outbound/identity/certificate-mesh.js';
import { openIdentityDirectory } from './adapters/outbound/identity/identity-directory.js';
import { type IntermediateRequest, readOffered } from './adapters/outbound/identity/intermediate.js';
import { gossipKey, newGossipKey, newMeshId, newNodeId } from './adapters/outbound/identity/new-ids.js';
import { createNodeRequest } from './adapters/outbound/identity/node-request.js';
import { prepareDirectory, readRecord, writeRecord } from './adapters/outbound/identity/record-file.js';
import { uniteLists } from './adapters/outbound/identity/revocation-list.js';
import { firstKeyring, type GossipKeyring } from './domain/identity/gossip-keyring.js';
import { type Mesh, meshNameFault } from './domain/identity/issue.js';
import { isIntermediate } from './domain/identity/issuer.js';
import { parseNodeUri } from './domain/identity/names.js';
import { NO_REVOCATIONS, type Revocations } from './domain/identity/revocation.js';
import { firstRoot, isNewerRoot, signingRoot, type TrustedRoot, trustedRoots } from './domain/identity/trust.js';
import { type NodeRecord, packNodeRecord, unpackNodeRecord } from './domain/mesh/node-record.js';
import {
  type CertificateAuthority,
  IdentityError,
  type IdentityStore,
  type NodeCredentials,
} from './ports/identity.js';
import type { JoinGrant, OfferedIntermediate } from './ports/mesh.js';

export interface MeshIdentity {
  readonly mesh: Mesh;
  readonly nodeId: string;
  readonly credentials: NodeCredentials;
  /** As of now, retired ones too: mesh/ca.ts keeps this up to date, and the three below. */
  roots: readonly TrustedRoot[];
  readonly lists: readonly string[];
  readonly revocations: Revocations;
  readonly keyring: GossipKeyring;
  /** By fingerprint, of the roots whose keys this node holds and can open. */
  keys: ReadonlyMap<string, CertificateAuthority>;
  /** Of the root that signs. undefined: this node does not sign, or can't; then authorityFault says why not. */
  authority: CertificateAuthority | undefined;
  authorityFault: string;
  /** All nodes as of late: who is to be asked when the replicated state is not there (yet, or any more). */
  readonly known: readonly NodeRecord[];
}

const CA_KEY_BYTES = 32;
const KNOWN_MAX_BYTES = 16 * 1024 * 1024;

export class IdentityFiles {
  readonly directory: string;
  readonly #caKeyFile: string;
  readonly #store: IdentityStore;

  constructor(stateDir: string, caKeyFile: string) {
    this.directory = join(stateDir, 'identity');
    this.#caKeyFile = caKeyFile;
    this.#store = openIdentityDirectory(this.directory);
  }

  /** undefined: this node is in no mesh. Fails as IdentityError. */
  async load(): Promise<MeshIdentity | undefined> {
    const credentials = this.#store.loadCredentials();
    if (credentials === undefined) return undefined;
    const roots = this.#store.loadRoots() ?? [];
    const keyring = this.#store.loadKeyring();
    const node = parseNodeUri(readCertificate(credentials.certificatePem).uris[0] ?? '');
    const [root] = roots;
    if (root === undefined || keyring === undefined || node === undefined) {
      const fix = 'restore it from a backup, or remove it and join again';
      throw new IdentityError('damaged', `${this.directory} lacks parts of this node's identity: ${fix}`);
    }
    const lists = this.#store.loadRevocationLists() ?? [];
    const { revocations } = await uniteLists(lists, trustedRoots(roots, Date.now()), Date.now());
    const { keys, fault } = await this.#openKeys(roots);
    return {
      mesh: meshOf((roots.find(({ certificate }) => !isIntermediate(certificate)) ?? root).pem),
      nodeId: node.nodeId,
      credentials,
      roots,
      lists,
      revocations,
      keyring,
      keys,
      authority: keys.get(signingRoot(roots, Date.now())?.certificate.fingerprint ?? ''),
      authorityFault: fault,
      known: this.#known(),
    };
  }

  /** A new mesh, with this node as its first. Fails as IdentityError. */
  async found(meshName: string): Promise<void> {
    const fault = meshNameFault(meshName);
    if (fault !== undefined) throw new IdentityError('invalid', fault);
    this.#makeKeyFile();
    const mesh = { id: newMeshId(), name: meshName };
    const authority = await createAuthorityFile(this.directory, mesh, readKeyFile(this.#caKeyFile), Date.now());
    await this.#begin(authority, [firstRoot(authority)]);
  }

  /** The same, with a root whose key is not here, and an intermediate of it for the key of that request. Fails as IdentityError. */
  async foundBy(requested: IntermediateRequest, offered: OfferedIntermediate): Promise<void> {
    const { root, intermediate } = readOffered(requested.mesh, offered, Date.now());
    const authority = await this.keepIntermediate(requested, { ...intermediate, issuers: root.pem });
    await this.#begin(authority, [firstRoot(authority), firstRoot(root)]);
  }

  async #begin(authority: CertificateAuthority, roots: readonly TrustedRoot[]): Promise<void> {
    const { privateKeyPem, request } = await createNodeRequest();
    const { pem } = await authority.issueNode(request, newNodeId(), NO_REVOCATIONS, Date.now());
    this.#store.saveRoots(roots);
    this.#store.saveRevocationLists([]);
    this.#store.saveKeyring(firstKeyring(newGossipKey()));
    this.saveKnown([]);
    // Last: with them this node is in the mesh.
    this.#store.saveCredentials({ privateKeyPem, certificatePem: pem });
  }

  /** What a join has given. Fails as IdentityError. */
  join(grant: JoinGrant, privateKeyPem: string): void {
    const all = grant.roots.map((pem) => firstRoot({ certificate: readCertificate(pem), pem }));
    const [signs] = all;
    // Those before have signed, too. Whether a newer one does by now is in what is replicated.
    const roots = all.map((root): TrustedRoot => {
      return signs !== undefined && isNewerRoot(root, signs) ? { ...root, signsFromMs: undefined } : root;
    });
    const keys = grant.gossipKeys.map(gossipKey);
    this.#store.saveRoots(roots);
    this.#store.saveRevocationLists(grant.revocationLists);
    this.#store.saveKeyring({ primary: keys[0]?.id ?? '', keys });
    this.saveKnown(grant.nodes);
    if (grant.sealedAuthority !== '') keepSealedAuthority(this.directory, grant.sealedAuthority);
    this.#store.saveCredentials({ privateKeyPem, certificatePem: grant.certificatePem });
  }

  /** For another node that is to sign, too. fingerprint: of the root. Fails as IdentityError. */
  sealedAuthority(fingerprint: string): string {
    return exportAuthority(this.directory, fingerprint);
  }

  /** Keeps what sealedAuthority() gave elsewhere, once it could be opened. Fails as IdentityError. */
  async adoptAuthority(text: string): Promise<CertificateAuthority> {
    return await adoptAuthority(this.directory, text, readKeyFile(this.#caKeyFile));
  }

  /** Another root for the mesh, sealed by the same key file. Fails as IdentityError. */
  async createAuthority(mesh: Mesh): Promise<CertificateAuthority> {
    return await createAuthorityFile(this.directory, mesh, readKeyFile(this.#caKeyFile), Date.now());
  }

  /** An intermediate, for the key of that request. Fails as IdentityError. */
  async keepIntermediate(
    { privateKey }: IntermediateRequest,
    { pem, issuers }: { readonly pem: string; readonly issuers: string },
  ): Promise<CertificateAuthority> {
    this.#makeKeyFile();
    return await keepIntermediate(this.directory, { pem, issuers, privateKey }, readKeyFile(this.#caKeyFile));
  }

  #makeKeyFile(): void {
    if (!existsSync(this.#caKeyFile)) writeKeyFile(this.#caKeyFile);
  }

  saveRoots(roots: readonly TrustedRoot[]): void {
    this.#store.saveRoots(roots);
  }

  /** From now on this is what the node shows. */
  saveCredentials(credentials: NodeCredentials): void {
    this.#store.saveCredentials(credentials);
  }

  saveKeyring(keyring: GossipKeyring): void {
    this.#store.saveKeyring(keyring);
  }

  saveRevocationLists(lists: readonly string[]): void {
    this.#store.saveRevocationLists(lists);
  }

  /**
   * This node is in no mesh any more. What it was is kept beside, in the directory that is returned: nothing reads it, and
   * it may have the only copy of the CA's key. Fails as IdentityError.
   */
  setAside(nowMs: number): string {
    const stamp = new Date(nowMs).toISOString().replaceAll(/[-:]|\.\d+/g, '');
    for (let count = 1; ; count++) {
      const path = `${this.directory}-left-${stamp}${count === 1 ? '' : `-${count}`}`;
      if (existsSync(path)) continue;
      try {
        renameSync(this.directory, path);
      } catch (error) {
        throw new IdentityError('io', `${this.directory} can't be renamed to ${path}: ${(error as Error).message}`);
      }
      prepareDirectory(this.directory);
      return path;
    }
  }

  /** fault: why the key of the root that signs is not among them, though it is held; empty: it is, or it is not held. */
  async #openKeys(
    roots: readonly TrustedRoot[],
  ): Promise<{ readonly keys: ReadonlyMap<string, CertificateAuthority>; readonly fault: string }> {
    const held = new Set(listAuthorityFiles(this.directory));
    const keys = new Map<string, CertificateAuthority>();
    const signs = signingRoot(roots, Date.now())?.certificate.fingerprint;
    let fault = '';
    for (const { certificate } of trustedRoots(roots, Date.now())) {
      const { fingerprint } = certificate;
      if (!held.has(fingerprint)) continue;
      try {
        keys.set(fingerprint, await openAuthorityFile(this.directory, fingerprint, readKeyFile(this.#caKeyFile)));
      } catch (error) {
        if (!(error instanceof IdentityError)) throw error;
        if (fingerprint === signs) fault = error.message;
      }
    }
    return { keys, fault };
  }

  get #knownPath(): string {
    return join(this.directory, 'nodes');
  }

  saveKnown(nodes: Iterable<NodeRecord>): void {
    const lines = Array.from(
      nodes,
      (node) => `${node.nodeId} ${Buffer.from(packNodeRecord(node)).toString('base64')}\n`,
    );
    writeRecord(this.#knownPath, 'nodes', lines.join(''));
  }

  #known(): readonly NodeRecord[] {
    const body = readRecord(this.#knownPath, 'nodes', KNOWN_MAX_BYTES) ?? '';
    return body.split('\n').flatMap((line) => {
      const [nodeId = '', packed = ''] = line.split(' ');
      const record = nodeId === '' ? undefined : unpackNodeRecord(nodeId, Buffer.from(packed, 'base64'));
      return record === undefined ? [] : [record];
    });
  }
}

function writeKeyFile(path: string): void {
  let file: number;
  try {
    file = openSync(path, 'wx', 0o600);
  } catch (error) {
    const fix = 'choose another with --ca-key-file';
    throw new IdentityError('io', `the key file ${path} can't be made: ${(error as Error).message}; ${fix}`);
  }
  try {
    writeSync(file, randomBytes(CA_KEY_BYTES));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
