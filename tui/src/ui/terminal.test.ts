// SPDX-License-Identifier: Apache-2.0
/** The console on real terminals: those of tmux, on a server of their own. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

const run = promisify(execFile);
const program = fileURLToPath(new URL('../../dist/testing/console-program.js', import.meta.url));
/** Of one thing that is to come to be: a program of Node.js starts in a second, unless the machine is busy. */
const DEADLINE_MS = 20_000;
/** Bytes: less than a screen of 80x24. */
const PICTURE = 1_000;
vi.setConfig({ testTimeout: 120_000 });

let directory = '';
const environment = { ...process.env, LANG: 'C.UTF-8', TMUX: '', NO_COLOR: '' };

async function tmux(...args: string[]): Promise<string> {
  const { stdout } = await run('tmux', ['-S', join(directory, 'socket'), '-f', '/dev/null', ...args], {
    env: environment,
  });
  return stdout;
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'marcher-tmux-'));
});

afterAll(async () => {
  await tmux('kill-server').catch(() => undefined);
  await rm(directory, { recursive: true, force: true });
});

/** A shell in a window of its own, with the console begun in it. */
async function open(name: string, columns: number, rows: number, ...words: (string | number)[]): Promise<void> {
  await tmux('new-session', '-d', '-s', name, '-x', String(columns), '-y', String(rows), 'env PS1="shell> " sh');
  await tmux('send-keys', '-t', name, `echo before; ${process.execPath} ${program} ${words.join(' ')}`, 'Enter');
  await until(name, (screen) => /^ Marcher (prod|simulated)/m.test(screen));
}

async function screenOf(name: string): Promise<string> {
  return await tmux('capture-pane', '-p', '-t', name);
}

async function until(name: string, holds: (screen: string) => boolean): Promise<string> {
  const end = Date.now() + DEADLINE_MS;
  for (;;) {
    const screen = await screenOf(name);
    if (holds(screen)) return screen;
    if (Date.now() > end) throw new Error(`this did not come to be:\n${screen}`);
    await setTimeout(20);
  }
}

const keys = (name: string, ...all: string[]): Promise<string> => tmux('send-keys', '-t', name, ...all);
const headers = (screen: string): number => screen.split('\n').filter((line) => line.startsWith(' Marcher ')).length;
/** The shell again, with what stood there before, and on lines again. */
async function expectShell(name: string): Promise<string> {
  const screen = await until(name, (now) => /shell>\s*$/.test(now) && now.includes('before'));
  expect(headers(screen)).toBe(0);
  await keys(name, 'stty -a; tput -T xterm cols > /dev/null; echo done', 'Enter');
  return await until(name, (now) => / icanon/.test(now) && / echo /.test(now));
}

test('keys, another size and again another: one header each time, and nothing of the frame before', async () => {
  await open('sizes', 100, 30, 3, 200, 2, 5);
  await keys('sizes', ':svc', 'Enter');
  await until('sizes', (screen) => screen.includes('web-0020'));
  for (const [columns, rows] of [
    [60, 12],
    [150, 45],
    [80, 24],
    [40, 10],
    [120, 20],
  ] as const) {
    await tmux('resize-window', '-t', 'sizes', '-x', String(columns), '-y', String(rows));
    const screen = await until('sizes', (now) => {
      const shown = now.split('\n').filter((line) => /^[> ] web-/.test(line)).length;
      return shown === rows - 5 && headers(now) === 1;
    });
    const lines = screen.replace(/\n$/, '').split('\n');
    expect(lines[0]).toMatch(/^ Marcher prod/);
    expect(lines.filter((line) => line.includes('NAME'))).toHaveLength(1);
    const names = lines.flatMap((line) => /web-\d{4}/.exec(line)?.[0] ?? []);
    expect(new Set(names).size).toBe(names.length);
  }
  await keys('sizes', 'G', '/', 'web-019');
  await until('sizes', (screen) => screen.includes('of 200') && screen.includes('web-0190'));
  await keys('sizes', 'Escape');
  // With a key right behind it, it would be Alt.
  await until('sizes', (screen) => screen.includes('200/200'));
  await keys('sizes', 'q');
  await expectShell('sizes');
});

test('Ctrl-Z gives the terminal to the shell, fg takes it again', async () => {
  await open('stopped', 90, 26);
  await keys('stopped', 'C-z');
  await until('stopped', (screen) => screen.includes('Stopped') && headers(screen) === 0);
  await keys('stopped', 'fg', 'Enter');
  await until('stopped', (screen) => headers(screen) === 1 && screen.includes('dashboard'));
  await keys('stopped', ':nodes', 'Enter');
  await until('stopped', (screen) => screen.includes('node03'));
  await keys('stopped', 'C-c');
  await expectShell('stopped');
});

test.each(['TERM', 'HUP', 'QUIT', 'USR2'])(
  'SIG%s (USR2: an exception) gives the terminal back as it was',
  async (signal) => {
    const name = `killed-${signal}`;
    await open(name, 90, 26);
    const pid = (
      await run('pgrep', ['-P', (await tmux('display-message', '-p', '-t', name, '#{pane_pid}')).trim()])
    ).stdout.trim();
    process.kill(Number(pid), `SIG${signal}` as NodeJS.Signals);
    const screen = await expectShell(name);
    if (signal === 'USR2') expect(screen).toContain('error: made to fail');
  },
);

test('an editor has the terminal to itself, and what it leaves is planned', async () => {
  await open('editor', 100, 30);
  await keys('editor', ':svc', 'Enter', ':unlock', 'Enter');
  await until('editor', (screen) => screen.includes('UNLOCKED'));
  await keys('editor', 'e');
  // EDITOR of the program that is run: it says what it was given, and waits for a line.
  await until('editor', (screen) => screen.includes('edited: web-0000.yaml') && headers(screen) === 0);
  await keys('editor', 'Enter');
  await until('editor', (screen) => headers(screen) === 1 && screen.includes('was left as it is'));
});

test('agents that are observed by their streams are shown live, and are drained', async () => {
  await open('agents', 110, 30, 'agents', 3, 20, 2);
  await keys('agents', ':nodes', 'Enter', ':unlock', 'Enter');
  await until(
    'agents',
    (screen) => screen.split('\n').filter((line) => /node0\d +live +ready/.test(line)).length === 3,
  );
  await keys('agents', 'j', 'd');
  await until('agents', (screen) => screen.includes('Drain node02?') && screen.includes('drain --node node02'));
  await keys('agents', 'y');
  await until('agents', (screen) => /node02 +live +draining/.test(screen) && screen.includes('Drained on 1 node'));
  await keys('agents', ':logs', 'Enter');
  await until('agents', (screen) => / logs/.test(screen) && !screen.includes('Asking'));
  await keys('agents', 'C-c');
  await expectShell('agents');
});

test('fifty sizes at once, names that terminals take for wider, and what is pasted: one header, no line out of its place', async () => {
  await open('storm', 100, 30, 'hostile', 3, 200, 1, 5);
  await keys('storm', ':svc', 'Enter');
  await until('storm', (screen) => screen.includes('NAME'));
  const sizes = Array.from({ length: 50 }, (_, i) => [40 + ((i * 37) % 200), 10 + ((i * 13) % 60)] as const);
  const resize = ['resize-window', '-t', 'storm'];
  // In one call, so that they come faster than frames.
  await tmux(...[...sizes, [90, 20] as const].flatMap(([x, y]) => [...resize, '-x', String(x), '-y', String(y), ';']));
  const isWhole = (screen: string): boolean => {
    const lines = screen.replace(/\n$/, '').split('\n');
    const named = lines.map((line) => /^[> ] ?web-\d{4}/.test(line));
    return headers(screen) === 1 && /^ Marcher/.test(lines[0] ?? '') && named.slice(3, 18).every(Boolean);
  };
  await until('storm', (screen) => screen.includes('90x20') && isWhole(screen));
  // As the terminal does it: within the brackets that the console has asked for.
  await tmux('set-buffer', ':q\nq\n');
  await tmux('paste-buffer', '-p', '-t', 'storm');
  await keys('storm', '/');
  await tmux('paste-buffer', '-p', '-t', 'storm');
  await until('storm', (screen) => screen.includes('/:q q') && headers(screen) === 1);
  await keys('storm', 'C-u', 'web-0007', 'Enter');
  await until('storm', (screen) => /1\/1 of 200/.test(screen));
  // After the terminal was another program's, pasting is as before.
  await keys('storm', 'C-z');
  await until('storm', (screen) => screen.includes('Stopped') && headers(screen) === 0);
  await keys('storm', 'fg', 'Enter');
  await until('storm', (screen) => /1\/1 of 200/.test(screen));
  await tmux('paste-buffer', '-p', '-t', 'storm');
  await keys('storm', 'Escape');
  await until('storm', (screen) => isWhole(screen) && screen.includes('/200'));
  await tmux('resize-window', '-t', 'storm', '-x', '20', '-y', '5');
  await until('storm', (screen) => screen.startsWith('20x5 is too small:\n40x10 at least'));
  await tmux('resize-window', '-t', 'storm', '-x', '100', '-y', '30');
  await until('storm', (screen) => headers(screen) === 1);
  await keys('storm', 'q');
  await expectShell('storm');
});

test('a signal ends it although nobody reads its terminal', async () => {
  // script(1) reads it, until what it writes itself is not read: by this test, from the beginning.
  const words = [process.execPath, program, '3', '200', '2', '50'].join(' ');
  const holder = spawn('script', ['-qec', `exec ${words}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const child = async (): Promise<string> => {
      const { stdout } = await run('pgrep', ['-P', String(holder.pid)]).catch(() => ({ stdout: '' }));
      return stdout.trim();
    };
    let pid = '';
    while (pid === '') pid = await child();
    // Until it has drawn: then each key is a whole picture.
    await once(holder.stdout, 'readable');
    for (let i = 0; i < 200; i++) holder.stdin.write('\f');
    // What it writes to wake itself is some bytes.
    const written = async (): Promise<number> =>
      Number(/wchar: (\d+)/.exec(await readFile(`/proc/${pid}/io`, 'utf8'))?.[1]);
    for (let before = -PICTURE; ; ) {
      const now = await written();
      if (now - before < PICTURE) break;
      before = now;
      await setTimeout(200);
    }
    process.kill(Number(pid), 'SIGTERM');
    const end = Date.now() + DEADLINE_MS;
    // script(1) waits for whom nobody reads, and does not look after its child: Z is one that has ended.
    const state = async (): Promise<string> => /\) (\w)/.exec(await readFile(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? '';
    while ((await state().catch(() => 'Z')) !== 'Z') {
      if (Date.now() > end) throw new Error('it goes on');
      await setTimeout(50);
    }
  } finally {
    holder.kill('SIGKILL');
  }
});
