// SPDX-License-Identifier: Apache-2.0
/** `marcher` at an agent on another machine: the built program, real TLS, and what it says when something is wrong. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { remoteApi, TOKEN } from './adapters/inbound/grpc/testing/remote.js';
import { testClient } from './adapters/outbound/identity/testing/client.js';
import { NODE_A, NODE_B, testDirectory } from './adapters/outbound/identity/testing/directory.js';
import { testAuthority, testNode } from './adapters/outbound/identity/testing/mesh.js';
import { NO_REVOCATIONS, nextCrlNumber, revoke } from './domain/identity/revocation.js';
import { buildMarcher, runMarcher } from './testing/marcher-command.js';

beforeAll(async () => {
  await buildMarcher();
}, 120_000);

test('a certificate or a token is shown to the right agent only, and every failure says what to do', async () => {
  const now = Date.now();
  const [authority, other] = await Promise.all([testAuthority(now), testAuthority(now, '2')]);
  const [node, alice] = await Promise.all([testNode(authority, NODE_A, now), testClient(authority, 'alice', now)]);
  const api = await remoteApi(authority, node);
  const directory = testDirectory();
  const file = (name: string, text: string): string => {
    writeFileSync(join(directory, name), text, { mode: 0o600 });
    return join(directory, name);
  };
  const ca = ['--ca-file', file('ca.crt', authority.pem)];
  const own = ['--cert-file', file('a.crt', alice.certificatePem), '--key-file', file('a.key', alice.privateKeyPem)];
  let homes = 0;
  const run = async (args: readonly string[], extra: Record<string, string> = {}) => {
    // Each its own: what one has heard of removed nodes, another that is later would not ask for.
    const home = join(directory, `home-${++homes}`);
    mkdirSync(home);
    const env = { HOME: home, MARCHER_TARGET: `https://127.0.0.1:${api.port}`, ...extra };
    const { code, stdout, stderr } = await runMarcher(['get', 'services', ...args], { env });
    return { code, text: stdout + stderr };
  };
  const tokenFile = file('token', `${TOKEN}\n`);
  // What it says itself of its own removal counts, too.
  const listed = revoke(NO_REVOCATIONS, { nodeId: NODE_B }, 5, now);
  if (listed.kind !== 'revoked') throw new Error(listed.reason);
  const gone = await remoteApi(authority, await testNode(authority, NODE_B, now));
  gone.mesh.lists = [(await authority.signRevocations(listed.revocations, nextCrlNumber(0n, now, NODE_A), now)).pem];
  const fromGone = { MARCHER_TARGET: `https://127.0.0.1:${gone.port}` };
  const [removed, byCertificate, byToken, unknownCa, wrongNode, nobody] = await Promise.all([
    run([...ca, '--token-file', tokenFile], fromGone),
    run([...ca, ...own, '--node-id', NODE_A]),
    run(ca, { MARCHER_TOKEN_FILE: tokenFile }),
    run(['--ca-file', file('other.crt', other.pem), '--token-file', tokenFile]),
    run([...ca, '--token-file', tokenFile, '--node-id', NODE_B]),
    run(ca),
  ]);
  expect(byCertificate).toMatchObject({ code: 0 });
  expect(byToken).toMatchObject({ code: 0 });
  expect(unknownCa.code).toBe(5);
  expect(unknownCa.text).toMatch(
    /is not trusted: its certificate was not signed by a CA .* --ca-file .* nothing was sent/s,
  );
  expect(wrongNode.code).toBe(5);
  expect(wrongNode.text).toContain(`node ${NODE_A} answers, not ${NODE_B}: check the address and --node-id`);
  expect(nobody.code).toBe(7);
  expect(nobody.text).toContain('--cert-file, --key-file), a bearer token (--token-file)');
  expect(removed.code).toBe(5);
  expect(removed.text).toContain(`node ${NODE_B} was removed from its mesh`);
  // To whom was not trusted it did not go: twice, as removed nodes are asked for first.
  expect(api.authenticator.asked).toEqual([TOKEN, TOKEN]);
  expect(gone.authenticator.asked).toEqual([TOKEN]);
});
