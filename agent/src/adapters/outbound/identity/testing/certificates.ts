// SPDX-License-Identifier: Apache-2.0
/** Certificates of services of a mesh of one node in memory, which signs by a real CA. */
import { createHash, generateKeyPairSync } from 'node:crypto';
import { MeshSecrets } from '../../../../application/mesh/secrets.js';
import { type CertificateChange, ServiceCertificates } from '../../../../application/mesh/service-certificates.js';
import { SECRETS_KEY_KIND, SECRETS_RECIPIENT_KIND } from '../../../../domain/mesh/secrets-key.js';
import type { CellWrite } from '../../../../domain/replication/contract.js';
import { MemoryStore } from '../../../../domain/replication/memory-store.js';
import { Replica } from '../../../../domain/replication/replica.js';
import { certificateTools } from '../certificate-chain.js';
import { createSecretBox } from '../secret-box.js';
import { rootOf, testAuthority } from './mesh.js';

const NODE = '00000000000000a1';

export interface TestCertificates {
  readonly certificates: ServiceCertificates;
  /** What was written and told, without keys. */
  readonly told: Omit<CertificateChange, 'writes'>[];
}

export async function testCertificates(nowMs: () => number): Promise<TestCertificates> {
  const authority = await testAuthority(nowMs());
  const cells = new MemoryStore();
  const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
  const clocks = { wallMs: nowMs, monotonicMs: nowMs, random: () => 0.5 };
  const environment = { ...clocks, hash, sign: hash, verify: () => true };
  const replica = new Replica({ node: BigInt(`0x${NODE}`), store: cells, environment, founds: true });
  const told: Omit<CertificateChange, 'writes'>[] = [];
  const write = (writes: readonly CellWrite[]): void => {
    const result = replica.write({ author: '', message: '', writes });
    if (!result.ok) throw new Error(result.reason);
    for (const { kind, id } of writes) {
      const ofSecrets = kind === SECRETS_KEY_KIND || kind === SECRETS_RECIPIENT_KIND;
      (ofSecrets ? secrets : certificates).changed(kind, [id]);
    }
  };
  const secrets: MeshSecrets = new MeshSecrets({
    ...{ meshId: '1'.repeat(32), nodeId: NODE, cells, nowMs, hash },
    box: createSecretBox(generateKeyPairSync('x25519').privateKey),
    members: () => new Set([NODE]),
    isRemoved: () => false,
    sign: () => new Uint8Array(64),
    verify: () => true,
    write: (_message, writes) => write(writes),
    used: () => certificates.usedKeys(),
  });
  const certificates: ServiceCertificates = new ServiceCertificates({
    ...{ cells, tools: certificateTools, secrets, nowMs },
    authority: () => authority,
    signers: () => [],
    roots: () => [rootOf(authority)],
    write: ({ writes, ...change }) => {
      write(writes);
      told.push(change);
    },
    tell: (change) => void told.push(change),
  });
  return { certificates, told };
}
