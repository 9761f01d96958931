// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PTYS_MAX, type PtyReply, type PtyRequest } from '../../pty/messages.js';
import { ConsoleError } from '../ipc-server.js';
import { programOf } from './program.js';
import { type PtyProcess, Terminals } from './terminals.js';

const program = { file: '/bin/sh', args: [], cwd: '/', environment: {} };
const size = { columns: 80, rows: 24 };

class FakeProcess implements PtyProcess {
  readonly asked: PtyRequest[] = [];
  killed = 0;
  say: (reply: PtyReply) => void = () => undefined;
  end: (code: number) => void = () => undefined;
  on(event: 'message' | 'exit', listener: never): void {
    if (event === 'message') this.say = listener;
    else this.end = listener;
  }
  postMessage(request: unknown): void {
    this.asked.push(request as PtyRequest);
    const { kind, id } = request as PtyRequest;
    if (kind === 'open') queueMicrotask(() => this.say({ kind: 'opened', id }));
  }
  kill(): boolean {
    this.killed++;
    return true;
  }
}

describe('terminals', () => {
  let made: FakeProcess[];
  let logged: object[];
  let terminals: Terminals;
  beforeEach(() => {
    made = [];
    logged = [];
    const log = (fields: object): void => void logged.push(fields);
    terminals = new Terminals(
      () => {
        const process = new FakeProcess();
        made.push(process);
        return process;
      },
      { warn: log, error: log },
    );
  });

  test('their process is there from the first to the last of them', async () => {
    expect(made).toHaveLength(0);
    const one = await terminals.open(program, size);
    const two = await terminals.open(program, size);
    expect(made).toHaveLength(1);
    terminals.close(one);
    expect(made[0]?.killed).toBe(0);
    terminals.close(two);
    expect(made[0]?.killed).toBe(1);
    await terminals.open(program, size);
    expect(made).toHaveLength(2);
  });

  test('a piece is asked for when somebody reads, one at a time', async () => {
    const id = await terminals.open(program, size);
    const reading = terminals.read(id);
    await expect(terminals.read(id)).rejects.toThrow(/being read already/);
    made[0]?.say({ kind: 'output', id, text: 'hello' });
    expect(await reading).toEqual({ text: 'hello' });
    expect(made[0]?.asked.filter(({ kind }) => kind === 'read')).toHaveLength(1);
    const last = terminals.read(id);
    made[0]?.say({ kind: 'ended', id, code: 3 });
    expect(await last).toEqual({ ended: 3 });
    await expect(terminals.read(id)).rejects.toThrow(ConsoleError);
  });

  test('a process that ends by itself is told to who waits and logged, and the next terminal has another', async () => {
    const id = await terminals.open(program, size);
    const reading = terminals.read(id);
    made[0]?.end(139);
    await expect(reading).rejects.toThrow(/has ended: open another/);
    expect(logged).toEqual([{ code: 139, terminals: 1 }]);
    expect(() => terminals.write(id, 'x')).toThrow(ConsoleError);
    await terminals.open(program, size);
    expect(made).toHaveLength(2);
  });

  test('one that can not be run is none; there are no more than so many', async () => {
    const opening = terminals.open(program, size);
    made[0]?.say({ kind: 'failed', id: 1, reason: 'no such file' });
    await expect(opening).rejects.toThrow(/no such file/);
    for (let i = 0; i < PTYS_MAX; i++) await terminals.open(program, size);
    await expect(terminals.open(program, size)).rejects.toThrow(/the most/);
    terminals.closeAll();
    await terminals.open(program, size);
  });

  test('what is not there can not be written to; closing it is nothing', () => {
    expect(() => terminals.write(7, 'x')).toThrow(/no such terminal/);
    expect(() => terminals.resize(7, size)).toThrow(/no such terminal/);
    terminals.close(7);
    expect(made).toHaveLength(0);
  });
});

describe('what runs', () => {
  let bin: string;
  let marcher: string;
  beforeEach(() => {
    bin = mkdtempSync(path.join(tmpdir(), 'marcher-bin-'));
    marcher = path.join(bin, 'marcher');
    writeFileSync(marcher, '#!/bin/sh\n');
    chmodSync(marcher, 0o755);
  });
  afterEach(() => rmSync(bin, { recursive: true, force: true }));

  const environment = {
    ...{ PATH: '/usr/bin:relative', HOME: '/home/alice', LANG: 'C.UTF-8', LC_TIME: 'C', SSH_AUTH_SOCK: '/run/agent' },
    ...{ MARCHER_TOKEN_FILE: '/secret', MARCHER_TARGET: 'other', ELECTRON_RUN_AS_NODE: '1', NODE_OPTIONS: '--inspect' },
    AWS_SECRET_ACCESS_KEY: 'SECRET',
  };
  const person = { environment, home: '/home/alice', shell: '/bin/sh' };

  test('the console is marcher of this installation, for the mesh that is shown', () => {
    const { file, args, cwd } = programOf('console', 'prod', person, [marcher]);
    expect([file, args, cwd]).toEqual([marcher, ['-t', 'prod'], '/home/alice']);
  });

  test('a shell is the one that the system has for the person, with marcher in reach and for that mesh', () => {
    const { file, args, environment: given } = programOf('shell', 'prod', person, [marcher]);
    expect([file, args]).toEqual(['/bin/sh', ['-l']]);
    expect(given).toMatchObject({ MARCHER_TARGET: 'prod', PATH: `/usr/bin:relative:${bin}`, SHELL: '/bin/sh' });
  });

  test.each(['console', 'shell'] as const)(
    'a %s has no variable that may be a secret, or turns programs into others',
    (kind) => {
      const { environment: given } = programOf(kind, 'prod', person, [marcher]);
      expect(Object.keys(given).sort()).toEqual(
        ['COLORTERM', 'HOME', 'LANG', 'LC_TIME', 'MARCHER_TARGET', 'PATH', 'SSH_AUTH_SOCK', 'TERM']
          .concat(kind === 'shell' ? ['SHELL'] : [])
          .sort(),
      );
      expect(given['MARCHER_TARGET']).toBe('prod');
    },
  );

  test('without marcher a console says what to do; what can not be run, or is no absolute path, is not taken', () => {
    chmodSync(marcher, 0o644);
    const lost = { ...person, environment: { PATH: bin } };
    expect(() => programOf('console', 'prod', lost, [marcher, 'marcher'])).toThrow(/install it/);
    expect(programOf('shell', 'prod', { ...lost, shell: 'sh' }, []).file).toMatch(/^\/bin\//);
  });
});
