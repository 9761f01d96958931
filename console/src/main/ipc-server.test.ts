// SPDX-License-Identifier: Apache-2.0
import { beforeEach, describe, expect, test } from 'vitest';
import type { Handlers } from '../ipc/contract.js';
import { METHODS, type Reply } from '../ipc/names.js';
import { ConsoleError, type Frame, type Invocation, serveIpc } from './ipc-server.js';

const page: Frame = { url: 'app://agent/#/services', parent: null };
let asked: unknown[][];
let logged: object[];
let handlers: Handlers;

beforeEach(() => {
  asked = [];
  logged = [];
  const took = (...parameters: unknown[]): undefined => {
    asked.push(parameters);
    return undefined;
  };
  const others = Object.fromEntries(METHODS.map((method) => [method, took])) as unknown as Handlers;
  handlers = {
    ...others,
    meshes: () => [{ name: 'prod', url: 'https://192.0.2.1:7443', isChosen: true }],
    chooseMesh: took,
    vaultState: () => 'locked',
    openVault: (passphrase) => {
      took(passphrase);
      throw new ConsoleError('the passphrase is wrong');
    },
    closeVault: () => 'locked',
    forgetSecrets: () => 'new',
    nextQuestion: () => ({ id: 1, title: 'Passphrase', text: [], fields: [], action: 'Go on', mayKeep: false }),
    answerQuestion: took,
    openLink: took,
  };
});

async function invoke(method: string, parameters: unknown[], senderFrame: Frame | null = page): Promise<Reply> {
  const listeners = new Map<string, (event: Invocation, ...parameters: unknown[]) => Promise<unknown>>();
  const log = (fields: object): void => void logged.push(fields);
  serveIpc({ handle: (channel, listener) => listeners.set(channel, listener) }, handlers, { warn: log, error: log });
  const listener = listeners.get(`marcher:${method}`);
  if (listener === undefined) throw new Error(`${method} has no channel: ${[...listeners.keys()].join(', ')}`);
  return (await listener({ senderFrame }, ...parameters)) as Reply;
}

describe('who asks', () => {
  test.each<[string, Frame | null]>([
    ['a page of the web', { url: 'https://agent/', parent: null }],
    ['another host of the scheme', { url: 'app://elsewhere/', parent: null }],
    ['a name before the host', { url: 'app://agent@elsewhere/', parent: null }],
    ['a user at the host', { url: 'app://user@agent/', parent: null }],
    ['no address', { url: '', parent: null }],
    ['about:blank', { url: 'about:blank', parent: null }],
    ['a frame in the console', { url: 'app://agent/', parent: page }],
    ['a frame that has gone', null],
  ])('%s is refused and logged, and nothing is done', async (_who, frame) => {
    expect(await invoke('chooseMesh', ['prod'], frame)).toEqual({ failure: 'only the console itself may ask that' });
    expect(asked).toEqual([]);
    expect(logged).toHaveLength(1);
  });

  test('the console is answered', async () => {
    expect(await invoke('chooseMesh', ['prod'])).toEqual({ value: undefined });
    expect(asked).toEqual([['prod']]);
  });
});

describe('what with', () => {
  test.each<[string, string, unknown[]]>([
    ['nothing', 'chooseMesh', []],
    ['too much', 'chooseMesh', ['prod', 'more']],
    ['another type', 'chooseMesh', [{ toString: () => 'prod' }]],
    ['a path', 'chooseMesh', ['../prod']],
    ['a program', 'openLink', ['file:///bin/sh']],
    ['a script', 'openLink', ['javascript:alert(1)']],
    ['a page without TLS', 'openLink', ['http://example.com/']],
    ['a page with a password', 'openLink', ['https://a:b@example.com/']],
    ['no address', 'openLink', ['example.com']],
    ['a long address', 'openLink', [`https://example.com/${'x'.repeat(3_000)}`]],
  ])('%s is refused', async (_what, method, parameters) => {
    const reply = await invoke(method, parameters);
    expect(reply).toEqual({ failure: expect.stringMatching(/was asked with what it does not take/) });
    expect(asked).toEqual([]);
  });

  test('a link of the web is taken', async () => {
    expect(await invoke('openLink', ['https://example.com/docs#part'])).toEqual({ value: undefined });
  });

  test('what was refused is not repeated: it may be a passphrase', async () => {
    expect(JSON.stringify(await invoke('openVault', ['secret', 'secret']))).not.toContain('secret');
  });
});

describe('what is answered', () => {
  test('no more than the contract says goes out', async () => {
    const leaking = [{ name: 'prod', url: 'https://192.0.2.1:7443', isChosen: true, token: 'SECRET' }];
    handlers = { ...handlers, meshes: () => leaking };
    expect(await invoke('meshes', [])).toEqual({
      value: [{ name: 'prod', url: 'https://192.0.2.1:7443', isChosen: true }],
    });
  });

  test('what is meant for the person is told', async () => {
    expect(await invoke('openVault', ['correct horse'])).toEqual({ failure: 'the passphrase is wrong' });
    expect(logged).toEqual([]);
  });

  test('what is not is logged', async () => {
    handlers = {
      ...handlers,
      vaultState: () => {
        throw new Error('ENOENT /home/alice');
      },
    };
    expect(await invoke('vaultState', [])).toEqual({
      failure: 'vaultState failed within the console: its log says why',
    });
    expect(JSON.stringify(logged)).toContain('ENOENT');
  });

  test('what the contract does not know is a failure', async () => {
    handlers = { ...handlers, vaultState: () => 'ajar' as never };
    expect(await invoke('vaultState', [])).toHaveProperty('failure');
  });
});
