// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PIECE_MAX, PTYS_MAX, type PtyProgram, type PtyReply } from './messages.js';
import { type Pty, Ptys } from './ptys.js';
import { spawnPty } from './spawn.js';

const size = { columns: 80, rows: 24 };
const program = (script: string): PtyProgram => ({
  file: '/bin/sh',
  args: ['-c', script],
  cwd: '/',
  environment: { PATH: '/usr/bin:/bin', TERM: 'xterm-256color' },
});

describe('with programs of this machine', () => {
  let replies: PtyReply[];
  let told: (() => void) | undefined;
  let ptys: Ptys;
  beforeEach(() => {
    replies = [];
    ptys = new Ptys(spawnPty, (reply) => {
      replies.push(reply);
      told?.();
    });
  });
  afterEach(() => ptys.close());

  const next = async (): Promise<PtyReply> => {
    while (replies.length === 0) {
      await new Promise<void>((resolve) => {
        told = resolve;
      });
    }
    return replies.shift() as PtyReply;
  };
  /** Everything it says, read to its end. */
  const whole = async (id: number): Promise<{ text: string; code: number; longest: number }> => {
    let text = '';
    let longest = 0;
    for (;;) {
      ptys.take({ kind: 'read', id });
      const reply = await next();
      if (reply.kind === 'ended') return { text, code: reply.code, longest };
      if (reply.kind !== 'output') throw new Error(`it said ${reply.kind}`);
      text += reply.text;
      longest = Math.max(longest, reply.text.length);
    }
  };

  test('a terminal has its size, another when it is given one, and ends with the code of its program', async () => {
    ptys.take({ kind: 'open', id: 1, program: program('stty size; read line; stty size; exit 7'), size });
    expect(await next()).toEqual({ kind: 'opened', id: 1 });
    ptys.take({ kind: 'resize', id: 1, size: { columns: 100, rows: 30 } });
    ptys.take({ kind: 'write', id: 1, text: 'go\r' });
    const { text, code } = await whole(1);
    expect(text).toContain('30 100');
    expect(code).toBe(7);
  });

  test('it has the variables that are given to it, and no others', async () => {
    process.env['PTYS_SECRET'] = 'SECRET';
    ptys.take({ kind: 'open', id: 1, program: program('env'), size });
    await next();
    const { text } = await whole(1);
    delete process.env['PTYS_SECRET'];
    expect(text).toContain('TERM=xterm-256color');
    expect(text).not.toContain('SECRET');
  });

  test('much that nobody reads is held back, and comes whole when somebody does, a piece at a time', async () => {
    ptys.take({ kind: 'open', id: 1, program: program('seq 1 200000'), size });
    await next();
    const { text, longest } = await whole(1);
    expect(text.endsWith('200000\r\n')).toBe(true);
    expect(text.split('\r\n')).toHaveLength(200_001);
    expect(longest).toBeLessThanOrEqual(PIECE_MAX);
  });

  test('a closed one ends its program', async () => {
    ptys.take({ kind: 'open', id: 1, program: program('echo $$; exec sleep 600'), size });
    await next();
    ptys.take({ kind: 'read', id: 1 });
    const said = await next();
    const pid = Number(said.kind === 'output' ? said.text.trim() : 0);
    expect(pid).toBeGreaterThan(1);
    ptys.take({ kind: 'close', id: 1 });
    const isThere = (): boolean => {
      try {
        process.kill(pid, 0);
        return true;
      } catch {
        return false;
      }
    };
    await expect.poll(isThere).toBe(false);
    ptys.take({ kind: 'read', id: 1 });
    expect(await next()).toMatchObject({ kind: 'failed' });
  });
});

describe('with programs that are told what to say', () => {
  class FakePty implements Pty {
    readonly done: string[] = [];
    say: (text: string) => void = () => undefined;
    end: (end: { exitCode: number; signal?: number }) => void = () => undefined;
    onData(listener: (text: string) => void): void {
      this.say = listener;
    }
    onExit(listener: (end: { exitCode: number; signal?: number }) => void): void {
      this.end = listener;
    }
    write = (text: string): void => void this.done.push(text);
    resize = (): void => void this.done.push('resize');
    pause = (): void => void this.done.push('pause');
    resume = (): void => void this.done.push('resume');
    kill = (): void => void this.done.push('kill');
  }
  let made: FakePty[];
  let replies: PtyReply[];
  let ptys: Ptys;
  beforeEach(() => {
    made = [];
    replies = [];
    const spawn = (): Pty => {
      const pty = new FakePty();
      made.push(pty);
      return pty;
    };
    ptys = new Ptys(spawn, (reply) => replies.push(reply));
  });
  const open = (id: number): FakePty => {
    ptys.take({ kind: 'open', id, program: program(''), size });
    return made.at(-1) as FakePty;
  };

  test('a program is held at four pieces that nobody has read, and goes on at one', () => {
    const pty = open(1);
    pty.say('x'.repeat(4 * PIECE_MAX - 1));
    expect(pty.done).toEqual([]);
    pty.say('x');
    expect(pty.done).toEqual(['pause']);
    for (let i = 0; i < 3; i++) ptys.take({ kind: 'read', id: 1 });
    expect(pty.done).toEqual(['pause', 'resume']);
  });

  test('a piece does not end between the halves of a character', () => {
    const pty = open(1);
    pty.say(`${'x'.repeat(PIECE_MAX - 1)}😀`);
    ptys.take({ kind: 'read', id: 1 });
    ptys.take({ kind: 'read', id: 1 });
    const texts = replies.flatMap((reply) => (reply.kind === 'output' ? [reply.text] : []));
    expect(texts.map((text) => text.length)).toEqual([PIECE_MAX - 1, 2]);
    expect(texts[1]).toBe('😀');
  });

  test('what was said comes before the end, and a signal is 128 and its number', () => {
    const pty = open(1);
    pty.say('last words');
    pty.end({ exitCode: 0, signal: 9 });
    ptys.take({ kind: 'write', id: 1, text: 'nobody hears that' });
    ptys.take({ kind: 'read', id: 1 });
    ptys.take({ kind: 'read', id: 1 });
    expect(replies.slice(1)).toEqual([
      { kind: 'output', id: 1, text: 'last words' },
      { kind: 'ended', id: 1, code: 137 },
    ]);
    expect(pty.done).toEqual([]);
  });

  test(`there are no more than ${PTYS_MAX}`, () => {
    for (let id = 1; id <= PTYS_MAX + 1; id++) open(id);
    expect(made).toHaveLength(PTYS_MAX);
    expect(replies.at(-1)).toMatchObject({ kind: 'failed', reason: expect.stringMatching(/the most/) });
    ptys.close();
    expect(made.every(({ done }) => done.at(-1) === 'kill')).toBe(true);
  });
});
