// SPDX-License-Identifier: Apache-2.0
/** "Show as CLI" of consoles, held against the program itself: each line is one that marcher takes, up to where it asks an agent. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempDisposableSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import * as actions from '@marcher/client/actions';
import type { AgentCalls } from '@marcher/client/fleet';
import { ApiKeySchema, UserSchema } from '@marcher/proto/marcher/v1/access_service_pb';
import { CertificateSchema } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ClusterSchema, MeshRootSchema } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { createProgram } from './program.js';
import type { Session } from './session.js';

class Asked extends Error {}

/** Until an agent would be asked. */
async function taken(line: string): Promise<void> {
  // Nothing here has a quote: names are plain.
  const words = line.split(' ');
  expect(words.shift()).toBe('marcher');
  const session = {
    agent: () => Promise.reject(new Asked()),
    call: () => ({}),
  } as unknown as Session;
  const program = createProgram(session, { code: 0 as never });
  const strict = (command: Command): void => {
    command.exitOverride().configureOutput({ writeErr: () => {} });
    command.commands.forEach(strict);
  };
  strict(program);
  await expect(program.parseAsync(words, { from: 'user' }), line).rejects.toBeInstanceOf(Asked);
}

const calls = {} as AgentCalls;
const OWNER = { role: 'owner', clusters: ['eu', 'us'], services: ['web'] } as const;
const VIEWER = { role: 'viewer', clusters: [], services: [] } as const;

test('what consoles show as a command line is taken as it stands', async () => {
  using directory = mkdtempDisposableSync(path.join(tmpdir(), 'marcher-commands-'));
  const key = create(ApiKeySchema, { id: '5a0b7d1e93c4f286', name: 'ci' });
  const user = create(UserSchema, { name: 'alice' });
  const certificate = create(CertificateSchema, { name: 'api' });
  const cluster = create(ClusterSchema, { name: 'eu', objects: 2n });
  const node = { nodeId: '00c0ffee00c0ffee', name: 'node-1' };
  const root = create(MeshRootSchema, { fingerprint: '4f0c1a77d2e845b6'.repeat(4) });
  const deeds = [
    // An owner's scope stands last, as each of its options takes all words that follow.
    actions.createUser(calls, 'alice', OWNER, undefined),
    actions.setRole(calls, user, OWNER),
    actions.setRole(calls, user, VIEWER),
    actions.setPassword(calls, user, { password: '', resetSecondFactor: true }),
    actions.endSessions(calls, user),
    actions.resetSecondFactor(calls, user),
    actions.removeUser(calls, user),
    actions.enrolSecondFactor(calls, 'alice', 'SECRET'),
    actions.renewRecoveryCodes(calls, 'alice', 'SECRET'),
    actions.createApiKey(calls, 'ci', OWNER, 90),
    actions.rotateApiKey(calls, key, 0),
    actions.rotateApiKey(calls, key, 24),
    actions.revokeApiKey(calls, key),
    actions.issueCertificate(calls, { name: 'api', names: ['a.example', '10.0.0.1'], days: 90, usage: 'both' }),
    actions.renewCertificate(calls, certificate, undefined),
    actions.renewCertificate(calls, certificate, 'key-compromise'),
    actions.revokeCertificate(calls, certificate, 'superseded'),
    actions.deleteCertificate(calls, certificate),
    actions.createCluster(calls, 'eu'),
    actions.deleteCluster(calls, cluster),
    actions.assignCluster(calls, cluster, node),
    actions.assignCluster(calls, cluster, node, true),
    actions.unassignCluster(calls, { ...cluster, nodes: [{ ...node } as never] }, node),
    actions.createJoinToken(calls, { minutes: 60, role: 'authority', clusters: ['eu'] }),
    actions.revokeJoinToken(calls, { id: key.id }),
    actions.removeMember(calls, node, []),
    actions.rotateGossipKey(calls),
    actions.rotateCa(calls, 72),
    actions.rotateCa(calls, 'now'),
    actions.retireRoot(calls, root),
    actions.revokeClientCertificate(calls, { serial: 'ab12', user: 'alice' }),
  ];
  for (const deed of deeds) for (const line of deed.asCommand().split('\n')) await taken(line);

  const pem = path.join(directory.path, 'shop.pem');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  const chain = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
  writeFileSync(pem, `${chain}${privateKey.export({ format: 'pem', type: 'pkcs8' })}`, { mode: 0o600 });
  const imported = actions.importCertificate(calls, {
    name: 'shop',
    chain: '',
    privateKey: new Uint8Array(),
    replace: true,
    files: { chain: pem, privateKey: pem },
  });
  await taken(imported.asCommand());
});

test('a line that marcher does not take is told from one that it does', async () => {
  await expect(taken('marcher user role alice owner --clusters eu')).rejects.toThrow();
});
