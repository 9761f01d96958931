// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createServer, type Server } from 'node:tls';
import { AgentError } from '@marcher/client';
import { type NamedTarget, type StoredSession, withoutTarget, withTarget } from '@marcher/client/address-book';
import { AddressBookFile } from '@marcher/client/address-book-file';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sessionHandlers } from './sessions.js';

const HOUR = 3_600_000;
const URL = 'https://192.0.2.1:7443';
const session: StoredSession = {
  user: 'alice',
  token: 'SECRET',
  grantedMs: Date.now(),
  expiresMs: Date.now() + HOUR,
  endsMs: Date.now() + 2 * HOUR,
};
const over = { ...session, expiresMs: 1, endsMs: 2 };
const times = ({ user, expiresMs, endsMs }: StoredSession) => ({ by: 'session', user, expiresMs, endsMs });

let directory: string;
let book: AddressBookFile;
/** What comes of a renewal. */
let renewed: () => Promise<StoredSession | undefined>;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'marcher-sessions-'));
  book = new AddressBookFile(path.join(directory, 'marcher'));
  renewed = async () => undefined;
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function handlers() {
  return sessionHandlers({ book, environment: { XDG_CONFIG_HOME: directory }, renewed: () => renewed() });
}

async function add(name: string, target: NamedTarget): Promise<void> {
  await book.update((before) => withTarget(before, name, target));
}

test('the page learns who is logged in and until when, and no token', async () => {
  await add('prod', { url: URL, session });
  await add('new', { url: URL });
  await add('ops', { url: URL, certFile: '/me.crt', keyFile: '/me.key' });
  await add('far', { url: 'ssh://alice@192.0.2.1' });
  const view = async (mesh: string) => await handlers().session(mesh);
  expect(await view('prod')).toEqual(times(session));
  expect(await view('new')).toEqual({ by: 'session' });
  expect(await view('ops')).toEqual({ by: 'certificate' });
  expect(await view('far')).toEqual({ by: 'machine' });
  expect(await view('local')).toEqual({ by: 'machine' });
  await expect(view('gone')).rejects.toThrow(/there is no target "gone"/);
});

test('a session that is kept up has the times of its renewal; one that is over has its own', async () => {
  await add('prod', { url: URL, session });
  const later = { ...session, expiresMs: session.expiresMs + HOUR };
  renewed = async () => later;
  expect(await handlers().keepSession('prod')).toEqual(times(later));
  await book.update((before) => withTarget(withoutTarget(before, 'prod'), 'prod', { url: URL, session: over }));
  renewed = async () => Promise.reject(new AgentError('denied', 'it was good until then', [], undefined));
  expect(await handlers().keepSession('prod')).toEqual(times(over));
});

test('a session that is over is forgotten without a word to its mesh, and what is open by it ends', async () => {
  let ended = 0;
  renewed = async () => void ended++;
  await add('prod', { url: URL, session: over });
  expect(await handlers().logOut('prod')).toEqual({ by: 'session' });
  expect(await handlers().logOut('prod')).toEqual({ by: 'session' });
  expect([ended, book.read().targets.get('prod')]).toEqual([1, { url: URL }]);
});

test('that is reached as a user of its machine takes no login', async () => {
  await add('lab', { url: 'ssh://alice@node1' });
  const login = handlers().logIn({ mesh: 'lab', user: 'alice', password: 'SECRET', code: '' });
  await expect(login).rejects.toThrow(/takes no login/);
});

test('who has not proven to be of the mesh gets neither password nor token; a logout counts here all the same', async () => {
  const { server, url, ca } = await stranger();
  try {
    let said = '';
    server.on('secureConnection', (socket) => socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1'))));
    await add('edge', { url, ca, session });
    const login = handlers().logIn({ mesh: 'edge', user: 'alice', password: 'PASSWORD', code: '' });
    await expect(login).rejects.toThrow(/is not trusted/);
    await expect(handlers().logOut('edge')).rejects.toThrow(/forgotten here, but the mesh was not told/);
    expect(said).not.toMatch(/SECRET|PASSWORD/);
    expect(book.read().targets.get('edge')).toEqual({ url, ca });
  } finally {
    server.close();
  }
});

/** Its certificate is of the CA, and names no node of a mesh. */
async function stranger(): Promise<{ readonly server: Server; readonly url: string; readonly ca: string }> {
  const at = (name: string): string => path.join(directory, name);
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { stdio: 'ignore', cwd: directory });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=edge root', '-days', '2');
  openssl('req', ...key, '-keyout', 'key.pem', '-out', 'leaf.csr', '-subj', '/CN=node1');
  openssl('x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-out', 'leaf.pem', '-days', '2');
  const ca = readFileSync(at('ca.pem'), 'utf8');
  const cert = `${readFileSync(at('leaf.pem'), 'utf8')}${ca}`;
  const server = createServer({ key: readFileSync(at('key.pem')), cert, ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `https://127.0.0.1:${(server.address() as { port: number }).port}`, ca };
}
