// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Question } from '../ipc/contract.js';
import { KeptSecrets } from './kept-secrets.js';
import { OpenQuestions } from './open-questions.js';
import { sshQuestions } from './ssh-questions.js';
import { Vault } from './vault.js';

let directory: string;
let questions: OpenQuestions;
let asked: Question[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-questions-'));
  questions = new OpenQuestions();
  asked = [];
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** The person, who says this to each question in turn; null: not now. */
async function person(...says: (readonly string[] | null | 'keep')[]): Promise<void> {
  for (const each of says) {
    const question = await questions.next(asked.at(-1)?.id ?? 0);
    asked.push(question);
    if (each === 'keep') questions.answer(question.id, ['secret of the key'], true);
    else questions.answer(question.id, each ?? undefined, false);
  }
}

function console_(isKept = false) {
  const safeStorage = {
    isEncryptionAvailable: () => isKept,
    getSelectedStorageBackend: () => (isKept ? 'gnome_libsecret' : 'basic_text'),
    encryptString: (text: string) => Buffer.from(text),
    decryptString: (sealed: Buffer) => sealed.toString(),
  };
  const vault = new Vault({ path: join(directory, 'vault.json'), safeStorage, cost: { N: 16, r: 8, p: 1 } });
  const secrets = new KeptSecrets(questions, vault, { warn() {}, error() {} });
  return { vault, ...sshQuestions(questions, secrets) };
}

const key = { path: '/home/alice/.ssh/id_ed25519', again: false };

describe('the passphrase of a key', () => {
  test('is asked for, and kept by the system where the person wants that', async () => {
    const here = console_(true);
    const [given] = await Promise.all([here.passphrase?.(key), person('keep')]);
    expect(given).toBe('secret of the key');
    expect(asked[0]).toMatchObject({ title: 'Passphrase of /home/alice/.ssh/id_ed25519', mayKeep: true });
    // By another console, nobody is asked.
    expect(await console_(true).passphrase?.(key)).toBe('secret of the key');
    expect(readFileSync(join(directory, 'vault.json'), 'utf8')).not.toContain('secret of the key');
  });

  test('is kept by a passphrase of the person where the system keeps nothing, which the next console asks for first', async () => {
    const choosing = person(
      'keep',
      ['correct horse', 'correct hearse'],
      ['short', 'short'],
      ['correct horse', 'correct horse'],
    );
    expect((await Promise.all([console_().passphrase?.(key), choosing]))[0]).toBe('secret of the key');
    expect(asked.map(({ action }) => action)).toEqual(['Go on', 'Choose it', 'Choose it', 'Choose it']);
    expect(asked[2]?.text[0]).toBe('The two were not the same.');
    expect(asked[3]?.text[0]).toMatch(/fewer than 8/);

    const opening = person(['incorrect horse'], ['correct horse']);
    expect((await Promise.all([console_().passphrase?.(key), opening]))[0]).toBe('secret of the key');
    expect(asked.slice(4).map(({ action }) => action)).toEqual(['Unlock', 'Unlock']);
    expect(asked.at(-1)?.text[0]).toContain('wrong');
  });

  test('is asked for again where the one that was kept is wrong', async () => {
    const here = console_(true);
    await Promise.all([here.passphrase?.(key), person('keep')]);
    const [given] = await Promise.all([here.passphrase?.({ ...key, again: true }), person(['another'])]);
    expect(given).toBe('another');
    expect(asked.at(-1)?.text).toEqual(['The one before was wrong.']);
  });

  test('is asked for each time by a console whose person does not open the vault, and that only once', async () => {
    await Promise.all([console_().passphrase?.(key), person('keep', ['correct horse', 'correct horse'])]);
    const here = console_();
    expect((await Promise.all([here.passphrase?.(key), person(null, ['typed'])]))[0]).toBe('typed');
    expect((await Promise.all([here.passphrase?.(key), person(['typed again'])]))[0]).toBe('typed again');
  });

  test('that is not given ends the login', async () => {
    expect((await Promise.all([console_(true).passphrase?.(key), person(null)]))[0]).toBeUndefined();
  });
});

test('the key of a server is shown whole, and nothing but a yes is one', async () => {
  const server = {
    name: 'node1',
    host: 'node1.example.org',
    port: 22,
    keyType: 'ssh-ed25519',
    fingerprint: 'SHA256:abc',
  };
  const shown = { ...server, path: '/home/alice/.ssh/known_hosts' };
  const here = console_();
  expect((await Promise.all([here.confirmHostKey?.(shown), person([])]))[0]).toBe(true);
  expect((await Promise.all([here.confirmHostKey?.(shown), person(null)]))[0]).toBe(false);
  expect(asked[0]).toMatchObject({ title: 'Is that the key of node1?', fields: [], mayKeep: false });
  expect(asked[0]?.text).toContain('SHA256:abc');
});

test('codes are asked for as the server words it, and never kept', async () => {
  const question = {
    user: 'alice',
    host: 'node1',
    title: 'Duo',
    instructions: 'a code',
    questions: [{ text: 'Code', echo: true }],
  };
  const here = console_(true);
  expect((await Promise.all([here.answers?.(question), person(['123456'])]))[0]).toEqual(['123456']);
  expect(asked[0]).toMatchObject({
    text: ['Duo', 'a code'],
    fields: [{ label: 'Code', isSecret: false }],
    mayKeep: false,
  });
});

describe('a question', () => {
  const yes = { title: 'Is it?', text: [], fields: [], action: 'Yes', mayKeep: false };

  test('is asked again of a page that has begun anew', async () => {
    const answered = questions.ask(yes);
    const first = await questions.next(0);
    expect(await questions.next(0)).toEqual(first);
    questions.answer(first.id, [], false);
    expect(await answered).toEqual({ answers: [], keep: false });
  });

  test('takes as many answers as it has fields, once', async () => {
    const answered = questions.ask({ ...yes, fields: [{ label: 'Code', isSecret: false }] });
    const { id } = await questions.next(0);
    expect(() => questions.answer(id, [], false)).toThrow('takes 1 answers');
    questions.answer(id, ['1'], true);
    expect(await answered).toEqual({ answers: ['1'], keep: false });
    expect(() => questions.answer(id, ['1'], false)).toThrow('nobody waits');
  });

  test('one too many is not asked', async () => {
    for (let at = 0; at < 32; at++) void questions.ask(yes);
    expect(await questions.ask(yes)).toBeUndefined();
  });
});
