// SPDX-License-Identifier: Apache-2.0
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeRecord } from '../identity/record-file.js';
import { testDirectory } from '../identity/testing/directory.js';
import { MemberMemory } from './member-memory.js';

const DAY_MS = 24 * 3600_000;
const id = (number: number): string => number.toString(16).padStart(16, '0');
const at = (port: number) => ({ host: '192.0.2.1', port });

let path: string;
let failures: string[];
const open = (): MemberMemory => new MemberMemory(path, (reason) => failures.push(reason));

beforeEach(() => {
  vi.useFakeTimers();
  path = join(testDirectory(), 'gossip-members');
  failures = [];
});
afterEach(() => void vi.useRealTimers());

describe('remembered members', () => {
  it('and the incarnation are there again after a restart, the dead and those that left too', () => {
    const memory = open();
    expect(memory.nextIncarnation).toBeUndefined();
    memory.took(7);
    for (const number of [1, 2, 3]) memory.saw(id(number), at(number));
    memory.lost(id(2));
    memory.close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const again = open();
    expect(again.nextIncarnation).toBe(8);
    expect(again.remembered()).toEqual([1, 2, 3].map((number) => ({ name: id(number), address: at(number) })));
    expect(failures).toEqual([`there is no ${path}: no members are remembered yet`]);
  });

  it('are written at most once a second, and only when something has changed', () => {
    const memory = open();
    memory.saw(id(1), at(1));
    vi.advanceTimersByTime(999);
    expect(existsSync(path)).toBe(false);
    vi.advanceTimersByTime(1);
    const first = statSync(path).ino;
    memory.saw(id(1), at(1));
    memory.took(0);
    memory.lost(id(9));
    vi.advanceTimersByTime(60_000);
    expect(statSync(path).ino).toBe(first);
    for (let i = 0; i < 100; i++) {
      memory.saw(id(2), at(100 + i));
      vi.advanceTimersByTime(9);
    }
    expect(readFileSync(path, 'utf8')).not.toContain(id(2));
    vi.advanceTimersByTime(100);
    expect(readFileSync(path, 'utf8')).toContain('199');
  });

  it('are forgotten a week after they died, or if they are not seen again for a week', () => {
    const memory = open();
    for (const number of [1, 2, 3]) memory.saw(id(number), at(number));
    memory.lost(id(1));
    vi.advanceTimersByTime(6 * DAY_MS);
    expect(memory.remembered().length).toBe(3);
    vi.advanceTimersByTime(2 * DAY_MS);
    expect(memory.remembered().map(({ name }) => name)).toEqual([id(2), id(3)]);
    memory.close();
    vi.advanceTimersByTime(30 * DAY_MS);
    const again = open();
    again.saw(id(3), at(3));
    vi.advanceTimersByTime(6 * DAY_MS);
    expect(again.remembered().length).toBe(2);
    vi.advanceTimersByTime(2 * DAY_MS);
    expect(again.remembered().map(({ name }) => name)).toEqual([id(3)]);
  });

  it('are 4,096 at most: whoever has been gone for longest makes way', () => {
    const memory = open();
    for (let number = 1; number <= 4_096; number++) memory.saw(id(number), at(number));
    memory.saw(id(5_000), at(1));
    expect(memory.remembered().some(({ name }) => name === id(5_000))).toBe(false);
    for (const number of [5, 3, 7]) {
      memory.lost(id(number));
      vi.advanceTimersByTime(1);
    }
    memory.saw(id(5_000), at(1));
    const names = new Set(memory.remembered().map(({ name }) => name));
    expect(names.size).toBe(4_096);
    expect([5, 3, 7, 5_000].map((number) => names.has(id(number)))).toEqual([false, true, true, true]);
    memory.close();
    expect(open().remembered().length).toBe(4_096);
  });

  it.each([
    ['no JSON', '{'],
    ['nothing', 'null'],
    ['no members', '{"incarnation":1}'],
    ['an incarnation that nobody can have', '{"incarnation":4294967295,"members":[]}'],
    ['a name that is no node’s', '{"incarnation":1,"members":[{"name":"x","host":"192.0.2.1","port":1}]}'],
    ['a host name', `{"incarnation":1,"members":[{"name":"${id(1)}","host":"example","port":1}]}`],
    ['no member', '{"incarnation":1,"members":[null]}'],
  ])('begin anew where the file has %s, and say so', (_, body) => {
    writeRecord(path, 'gossip-members', body);
    expect(open().remembered()).toEqual([]);
    expect(failures).toEqual([expect.stringMatching(/is damaged: .* remembered anew, and the file is replaced$/)]);
  });

  it('begin anew where the file was cut off or is another, without advice to restore it', () => {
    writeFileSync(path, 'x', { mode: 0o600 });
    expect(open().nextIncarnation).toBeUndefined();
    expect(failures).toEqual([expect.stringMatching(/gossip-members is damaged; the members .* anew/)]);
    rmSync(path);
    mkdirSync(path, { mode: 0o700 });
    open();
    expect(failures[1]).toMatch(/can't be read/);
  });

  it('that can not be written are said and tried again, without an end of the process', () => {
    const memory = open();
    rmSync(join(path, '..'), { recursive: true });
    memory.saw(id(1), at(1));
    vi.advanceTimersByTime(1_000);
    expect(failures.at(-1)).toMatch(/can't be written.*tried again in 30 s/);
    mkdirSync(join(path, '..'));
    chmodSync(join(path, '..'), 0o700);
    vi.advanceTimersByTime(30_000);
    expect(readFileSync(path, 'utf8')).toContain(id(1));
  });
});
