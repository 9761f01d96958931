// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Http2Server } from 'node:http2';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createServer as createTlsServer, type Server } from 'node:tls';
import { Code, ConnectError } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import type { AgentClient } from '@marcher/client';
import { AddressBookFile } from '@marcher/client/address-book-file';
import { layoutUnder, systemd } from '@marcher/client/provision';
import type { RemoteShell } from '@marcher/client/ssh';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addMesh, rootsAt } from './add-mesh.js';
import { type LocalMachine, lookForAgent, startAgent } from './local-agent.js';
import { NodeAdding } from './node-adding.js';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'marcher-assistant-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe("this machine's agent", () => {
  let server: Http2Server | undefined;
  afterEach(() => {
    server?.close();
    server = undefined;
  });

  async function serve(refuses = false): Promise<void> {
    const handler = connectNodeAdapter({
      routes: (router) => {
        router.service(NodeService, {
          status() {
            if (refuses) throw new ConnectError('your user may not', Code.PermissionDenied);
            return { nodeName: 'node1', version: '0.1.0' };
          },
        });
        router.service(MeshService, { getMesh: () => ({ mesh: { meshName: 'edge' } }) });
      },
    });
    server = createServer(handler);
    await new Promise<void>((resolve) => server?.listen(path.join(directory, 'sock'), resolve));
  }

  function machine(change: Partial<LocalMachine> = {}): LocalMachine {
    return {
      target: `unix:${directory}/sock`,
      hasUnit: () => false,
      isRoot: false,
      run: async () => {
        throw new Error('nothing was to be run');
      },
      ...change,
    };
  }

  test('is found, with its version and its mesh', async () => {
    await serve();
    expect(await lookForAgent(machine())).toMatchObject({
      state: 'answers',
      nodeName: 'node1',
      version: '0.1.0',
      mesh: 'edge',
    });
  });

  test('that refuses this person is said to, and how that is changed', async () => {
    await serve(true);
    expect(await lookForAgent(machine())).toMatchObject({ state: 'denied', command: expect.stringMatching(/usermod/) });
  });

  test('that is not there is absent, or where it is installed stopped, with the command that starts it', async () => {
    expect(await lookForAgent(machine())).toMatchObject({ state: 'absent' });
    expect(await lookForAgent(machine({ hasUnit: () => true }))).toMatchObject({
      state: 'stopped',
      command: 'pkexec systemctl start marcherd.service',
    });
  });

  test('is started by that command alone, once, and then looked at', async () => {
    const ran: unknown[] = [];
    const run: LocalMachine['run'] = async (...call) => {
      ran.push(call);
      await serve();
      return { code: 0, said: '' };
    };
    expect(await startAgent(machine({ hasUnit: () => true, run }))).toMatchObject({ state: 'answers' });
    expect(ran).toEqual([['pkexec', ['systemctl', 'start', 'marcherd.service']]]);
    await startAgent(machine({ hasUnit: () => true, run }));
    expect(ran).toHaveLength(1);
  });

  test.each<[string, number, RegExp]>([
    ['nobody allows', 126, /nobody has allowed it/],
    ['fails', 1, /Job for marcherd failed.*journalctl/],
  ])('a start that %s says so', async (_what, code, why) => {
    const run = async () => ({ code, said: 'Job for marcherd failed' });
    await expect(startAgent(machine({ hasUnit: () => true, run }))).rejects.toThrow(why);
  });

  test('without pkexec it says which command does it', async () => {
    const run = async (): Promise<never> => {
      throw new Error('spawn pkexec ENOENT');
    };
    await expect(startAgent(machine({ hasUnit: () => true, run }))).rejects.toThrow(/sudo systemctl start/);
  });
});

describe('a mesh elsewhere', () => {
  let server: Server;
  let url: string;
  let book: AddressBookFile;
  let ca: string;

  beforeEach(async () => {
    const at = (name: string): string => path.join(directory, name);
    const openssl = (...args: string[]): void =>
      void execFileSync('openssl', args, { stdio: 'ignore', cwd: directory });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=edge root', '-days', '2');
    openssl('req', ...key, '-keyout', 'key.pem', '-out', 'leaf.csr', '-subj', '/CN=node1');
    openssl('x509', '-req', '-in', 'leaf.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-out', 'leaf.pem', '-days', '2');
    ca = readFileSync(at('ca.pem'), 'utf8');
    const cert = `${readFileSync(at('leaf.pem'), 'utf8')}${ca}`;
    server = createTlsServer({ key: readFileSync(at('key.pem')), cert, ALPNProtocols: ['h2'] }, (socket) => {
      socket.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `https://127.0.0.1:${(server.address() as { port: number }).port}`;
    book = new AddressBookFile(path.join(directory, 'config'));
  });
  afterEach(() => server.close());

  test('shows its root, and is known by the one that somebody has compared', async () => {
    const [root, ...others] = await rootsAt(url);
    expect(others).toEqual([]);
    expect(root).toMatchObject({ fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/), subject: 'CN=edge root' });
    await addMesh(book, { name: 'edge', url, fingerprint: root?.fingerprint });
    expect(book.read().targets.get('edge')).toEqual({ url, ca });
  });

  test('that shows another root than was compared is not added', async () => {
    const wrong = addMesh(book, { name: 'edge', url, fingerprint: '0'.repeat(64) });
    await expect(wrong).rejects.toMatchObject({ code: 'untrusted' });
    expect(book.read().targets.size).toBe(0);
  });

  test('by SSH has no root to compare; without TLS there is none', async () => {
    expect(await rootsAt('ssh://alice@node1')).toEqual([]);
    await addMesh(book, { name: 'lab', url: 'ssh://alice@node1' });
    expect([...book.read().targets.keys()]).toEqual(['lab']);
    await expect(addMesh(book, { name: 'plain', url: '192.0.2.1:7000' })).rejects.toThrow(/use https/);
    await expect(addMesh(book, { name: 'bad', url: 'not an address' })).rejects.toThrow();
    await expect(addMesh(book, { name: 'lab', url: 'ssh://b' })).rejects.toThrow(/there is a target lab/);
  });
});

describe('a node that is added', () => {
  const facts = ['host node2', 'system Linux', 'arch x86_64', 'uid 0', 'address 192.0.2.2', 'end yes'].join('\n');
  const choice = { mesh: 'prod', host: '192.0.2.2', meshPort: 7_400 };
  let closed: string[];

  function adding(stdout = facts): NodeAdding {
    closed = [];
    const shell = { run: async () => ({ code: 0, stdout, stderr: '' }), close: () => void closed.push('shell') };
    const getMesh = async () => ({ mesh: { meshId: 'm', signs: true } });
    const agent = { mesh: { getMesh }, close: () => void closed.push('agent') };
    return new NodeAdding({
      ask: {},
      agentOf: () => agent as unknown as AgentClient,
      archives: () => [],
      layout: layoutUnder(),
      runner: systemd,
      logger: { warn() {}, error() {} },
      shellTo: () => shell as unknown as RemoteShell,
    });
  }

  test('is not begun where something stops it, nor before the machine was looked at', async () => {
    const node = adding();
    expect(() => node.add({ nodeName: 'node2', meshAddress: '192.0.2.2:7400' })).toThrow(/look at the machine first/);
    const looked = await node.look(choice);
    expect(looked).toMatchObject({ nodeName: 'node2', meshAddress: '192.0.2.2:7400', archive: '' });
    expect(looked.findings.map(({ text }) => text).join()).toMatch(/no installation for that here/);
    expect(() => node.add({ nodeName: 'node2', meshAddress: '192.0.2.2:7400' })).toThrow(/it can't be added/);
    expect(() => node.undo()).toThrow(/nothing to take back/);
    await expect(node.keep()).rejects.toThrow(/no node that was added/);
  });

  test('connections to a machine that is not looked at any more are closed', async () => {
    const node = adding();
    await node.look(choice);
    await node.look(choice);
    expect(closed).toEqual(['agent', 'shell']);
    node.close();
    expect(closed).toHaveLength(4);
    const odd = adding('Welcome!');
    await expect(odd.look(choice)).rejects.toThrow(/has not said what it is: Welcome!/);
    expect(closed).toEqual(['agent', 'shell']);
  });

  test('the page is told at once what is so, and waits for what comes next', async () => {
    const node = adding();
    const { revision, phase } = await node.progress(-1);
    expect([revision, phase]).toEqual([0, 'none']);
    const waiting = node.progress(revision);
    expect(await Promise.race([waiting, Promise.resolve('waits')])).toBe('waits');
  });
});
