// SPDX-License-Identifier: Apache-2.0
/** `marcher certificate` as an operator has it: the built program, which is no import, over the real API and a real CA. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiServer, createApiServer } from './adapters/inbound/grpc/api-server.js';
import { InMemoryUseCases } from './adapters/inbound/testing/in-memory-use-cases.js';
import { type TestCertificates, testCertificates } from './adapters/outbound/identity/testing/certificates.js';
import { testChain } from './adapters/outbound/identity/testing/chain.js';
import { createCertificates } from './application/certificates.js';
import { buildMarcher, type CommandResult, runMarcher } from './testing/marcher-command.js';

const PASSPHRASE = 'correct horse battery staple';
const logged: string[] = [];
let directory: string;
let socketPath: string;
let server: ApiServer;
let mesh: TestCertificates | undefined;

async function marcher(...args: readonly string[]): Promise<CommandResult> {
  return await runMarcher(args, { env: { HOME: directory, MARCHER_TARGET: `unix:${socketPath}` } });
}

const run = (...args: readonly string[]): Promise<CommandResult> => marcher('certificate', ...args);

const at = (name: string): string => join(directory, name);

beforeAll(async () => {
  await buildMarcher();
  directory = mkdtempSync(join(tmpdir(), 'marcher-certificate-commands-'));
  socketPath = at('api.sock');
  const log = (fields: object, message: string): void => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const { config, node, traffic } = new InMemoryUseCases();
  server = createApiServer({
    useCases: { config, node, traffic, certificates: createCertificates(() => mesh?.certificates) },
    peerCredentials: () => ({ pid: 1, uid: 0, gid: 0, member: false }),
    logger: { debug: log, info: log, warn: log, error: log },
    socketPath,
    limits: { stopMs: 500 },
  });
  await server.start();
  const { root: ca, middle, leaf } = await testChain();
  writeFileSync(at('full.pem'), leaf.pem + middle.pem);
  writeFileSync(at('leaf.crt'), leaf.pem);
  writeFileSync(at('ca.crt'), middle.pem + ca.pem);
  const key = createPrivateKey(leaf.keyPem);
  const sealed = { format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: PASSPHRASE } as const;
  writeFileSync(at('sealed.key'), key.export(sealed), { mode: 0o600 });
  writeFileSync(at('ca.key'), middle.keyPem, { mode: 0o600 });
  writeFileSync(at('passphrase'), `${PASSPHRASE}\n`, { mode: 0o600 });
}, 120_000);

afterAll(async () => {
  await server.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('without a mesh nothing is issued, and what to do is said', async () => {
  const issued = await run('issue', 'api', '--san', 'api.example.org');
  expect([issued.code, issued.stderr]).toEqual([6, expect.stringContaining('marcher mesh init NAME')]);
});

test('one is issued, imported, shown, exported, renewed, revoked and deleted, and no key is anywhere but in its file', async () => {
  mesh = await testCertificates(Date.now);
  const sealed = ['--private-key', at('sealed.key'), '--passphrase-file', at('passphrase')];
  const [issued, imported, faulty, odd] = await Promise.all([
    run('issue', 'api', '--san', 'api.example.org', '--san', '10.0.0.1', '--san', '*.example.org', '--days', '30'),
    run('import', 'shop', '--certificate', at('leaf.crt'), '--chain', at('ca.crt'), ...sealed),
    run('import', 'odd', '--certificate', at('full.pem'), '--private-key', at('ca.key')),
    run('issue', 'odd', '--san', '*.org', '--san', 'a..b'),
  ]);
  expect([issued.code, issued.stdout]).toEqual([
    0,
    expect.stringMatching(/^Issued api for api\.example\.org, \*\.example\.org and 1 more, until /),
  ]);
  expect([imported.code, imported.stdout, imported.stderr]).toEqual([
    0,
    expect.stringMatching(/^Imported shop for shop\.example\.org, /),
    expect.stringContaining('not renewed by itself'),
  ]);
  expect(faulty.code).toBe(3);
  for (const part of ['2 faults', 'private_key: it is the key of chain[1]', '"CN=Test Root" has signed', '(--chain)'])
    expect(faulty.stderr).toContain(part);
  expect([odd.code, odd.stderr]).toEqual([2, expect.stringMatching(/"\*\.org" is too wide.*"a\.\.b" has a label/)]);

  const out = ['--certificate', at('api.pem'), '--private-key', at('api.key')];
  const [table, shown, exported, plain, names] = await Promise.all([
    run('list'),
    run('show', 'shop'),
    run('export', 'api', ...out),
    run('export', 'api'),
    marcher('__complete', 'certificate', 'show', ''),
  ]);
  expect(table.stdout).toMatch(
    /^NAME +STATE +LEFT +RENEWS +SOURCE +NAMES\napi +valid +29d.*issued.*\nshop +valid +89d\d+h +never +imported/,
  );
  expect(shown.stdout).toMatch(/Names +shop\.example\.org, \*\.shop\.example\.org\n.*\nRenewed +not by itself\n/);
  expect(names).toMatchObject({ code: 0, stdout: 'api\nshop\n' });
  expect([exported.code, exported.stderr]).toEqual([0, expect.stringContaining('in the audit log')]);
  const certificate = new X509Certificate(readFileSync(at('api.pem')));
  expect(plain.stdout).toBe(readFileSync(at('api.pem'), 'utf8'));
  expect(certificate.checkPrivateKey(createPrivateKey(readFileSync(at('api.key'))))).toBe(true);
  expect(statSync(at('api.key')).mode & 0o777).toBe(0o600);
  expect(readdirSync(directory).filter((name) => name.endsWith('.new'))).toEqual([]);

  const [again, renewed] = await Promise.all([
    run('export', 'api', ...out),
    run('renew', 'api', '--revoke', 'key-compromise', '-o', 'json'),
  ]);
  expect([again.code, again.stderr]).toEqual([1, expect.stringContaining('exists: move it away, or give --force')]);
  expect(JSON.parse(renewed.stdout)).toMatchObject({ name: 'api', source: 'CERTIFICATE_SOURCE_ISSUED' });
  expect(JSON.parse(renewed.stdout).serial).not.toBe(certificate.serialNumber.toLowerCase());
  const [revoked, foreign] = await Promise.all([run('revoke', 'api', '--yes'), run('revoke', 'shop', '--yes')]);
  expect([revoked.code, foreign.code]).toEqual([0, 6]);
  expect((await run('delete', 'shop', '--yes')).stdout).toBe('Certificate shop and its key are deleted.\n');
  expect(mesh.told.map(({ action }) => action.split('/')[1]).sort()).toEqual(
    ['Delete', 'Import', 'Issue', 'Renew', 'Revoke']
      .map((verb) => `${verb}Certificate`)
      .concat('ExportPrivateKey')
      .sort(),
  );

  const everything = [issued, imported, faulty, table, shown, exported, plain, renewed].map(({ stdout, stderr }) => {
    return stdout + stderr;
  });
  const said = [...everything, ...logged, JSON.stringify(mesh.told)].join('\n');
  for (const secret of ['PRIVATE KEY', PASSPHRASE]) expect(said).not.toContain(secret);
});
