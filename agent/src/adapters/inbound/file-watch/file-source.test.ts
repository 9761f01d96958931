// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import { kindOf, nameOf } from '@marcher/model';
import { ViolationSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { packedName } from '../../../application/service-codec.js';
import { ApplicationError } from '../../../ports/use-cases.js';
import { FileSource } from './file-source.js';

let dir: string;
let source: FileSource | undefined;
let applied: string[][];
let answer: () => void;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'marcher-source-'));
  applied = [];
  answer = () => undefined;
});

afterEach(async () => {
  await source?.stop();
  source = undefined;
  rmSync(dir, { recursive: true, force: true });
});

async function follow(path: string): Promise<FileSource> {
  source = new FileSource({
    path,
    pollMs: 50,
    quietMs: 20,
    parser: fileURLToPath(new URL('../../../../dist/adapters/inbound/file-watch/parse-child.js', import.meta.url)),
    log: { info: () => undefined, warn: () => undefined },
    apply: async ({ services, objects }) => {
      const names = [...services].map((item) => (item instanceof Uint8Array ? (packedName(item) ?? '') : item.name));
      for (const object of objects) names.push(`${kindOf(object)}/${nameOf(object)}`);
      answer();
      applied.push(names);
      return { changed: true };
    },
  });
  await source.start();
  return source;
}

const text = (...names: string[]) =>
  `apiVersion: marcher/v1\nservices: [${names.map((name) => `{ name: ${name} }`).join(', ')}]\n`;
const eventually = (names: string[]) => vi.waitFor(() => expect(applied.at(-1)).toEqual(names), { timeout: 5_000 });
const condition = (reason: string) =>
  vi.waitFor(() => expect(source?.condition.reason).toBe(reason), { timeout: 5_000 });

test('a file is read at the start, and again when it is written', async () => {
  const path = join(dir, 'c.yaml');
  writeFileSync(path, text('a'));
  await follow(path);
  expect(applied).toEqual([['a']]);
  expect(source?.condition).toMatchObject({ status: true, reason: 'Applied' });
  writeFileSync(path, text('a', 'b'));
  await eventually(['a', 'b']);
});

test('a file that an editor replaces by renaming is followed, again and again', async () => {
  const path = join(dir, 'c.yaml');
  writeFileSync(path, text('a'));
  await follow(path);
  for (const name of ['b', 'c', 'd']) {
    writeFileSync(join(dir, '.c.yaml.swp'), text(name));
    renameSync(join(dir, '.c.yaml.swp'), path);
    await eventually([name]);
  }
});

test("a directory whose links turn as Kubernetes' do is followed", async () => {
  const version = (name: string, ...services: string[]) => {
    mkdirSync(join(dir, name));
    writeFileSync(join(dir, name, 'c.yaml'), text(...services));
  };
  version('..1', 'a');
  symlinkSync('..1', join(dir, '..data'));
  symlinkSync('..data/c.yaml', join(dir, 'c.yaml'));
  await follow(dir);
  expect(applied).toEqual([['a']]);
  version('..2', 'b');
  symlinkSync('..2', join(dir, '..data_tmp'));
  renameSync(join(dir, '..data_tmp'), join(dir, '..data'));
  rmSync(join(dir, '..1'), { recursive: true });
  await eventually(['b']);
});

test('a half-written file keeps what was, and is read when it is whole', async () => {
  const path = join(dir, 'c.yaml');
  writeFileSync(path, text('a'));
  await follow(path);
  writeFileSync(path, text('a', 'b').slice(0, -5));
  await condition('Invalid');
  expect(source?.condition.message).toContain(path);
  expect(source?.condition.message).toContain('the configuration before stays in force');
  writeFileSync(path, '');
  await vi.waitFor(() => expect(source?.condition.message).toContain('is empty'), { timeout: 5_000 });
  writeFileSync(path, text('a', 'b'));
  await eventually(['a', 'b']);
  expect(applied).toEqual([['a'], ['a', 'b']]);
  await condition('Applied');
});

test('a file that is there and can not be read is a condition, and names the error', async () => {
  const path = join(dir, 'c.yaml');
  symlinkSync('/proc/self/mem', path); // a regular file whose first page nobody can read, not even root
  await follow(path);
  expect(source?.condition).toMatchObject({ status: false, reason: 'SourceUnreadable' });
  expect(source?.condition.message).toContain('EIO');
});

test('a missing source is a condition, not an end, and may come and go', async () => {
  const path = join(dir, 'c.yaml');
  await follow(path);
  expect(source?.condition).toMatchObject({ status: false, reason: 'SourceUnreadable' });
  writeFileSync(path, text('a'));
  await eventually(['a']);
  unlinkSync(path);
  await condition('SourceUnreadable');
  expect(applied).toEqual([['a']]);
});

test('all files of a directory are one configuration; a name in two of them is a mistake that names both', async () => {
  writeFileSync(join(dir, 'a.yaml'), text('a'));
  writeFileSync(join(dir, 'b.json'), '{"apiVersion":"marcher/v1","services":[{"name":"b"}]}');
  writeFileSync(join(dir, 'notes.txt'), 'not read');
  writeFileSync(join(dir, '.hidden.yaml'), 'not read');
  await follow(dir);
  expect(applied).toEqual([['a', 'b']]);
  writeFileSync(join(dir, 'c.yml'), text('c', 'a'));
  await condition('Invalid');
  expect(source?.condition.message).toContain(
    `${join(dir, 'c.yml')}: services[1].name: "a" stands in ${join(dir, 'a.yaml')} too`,
  );
});

test('guards and traffic policies of all files belong to it, each with its own names', async () => {
  writeFileSync(join(dir, 'a.yaml'), text('a'));
  writeFileSync(join(dir, 'b.yaml'), 'apiVersion: marcher/v1\nguards: [{ name: a }]\n');
  writeFileSync(join(dir, 'c.yaml'), 'apiVersion: marcher/v1\ntrafficPolicies: [{ name: a }]\nguards: [{ name: b }]\n');
  answer = () => {
    if (applied.length === 0) return;
    const violation = create(ViolationSchema, { path: 'guards[1].rules', reason: 'r', fix: 'f' });
    throw new ApplicationError('invalid', 'm', [violation]);
  };
  await follow(dir);
  expect(applied).toEqual([['a', 'Guard/a', 'Guard/b', 'TrafficPolicy/a']]);
  writeFileSync(join(dir, 'c.yaml'), 'apiVersion: marcher/v1\nguards:\n- name: c\n  rules: []\n');
  await condition('Invalid');
  expect(source?.condition.message).toContain(`${join(dir, 'c.yaml')}:4:3: guards[0].rules: r (f)`);
  writeFileSync(join(dir, 'c.yaml'), 'apiVersion: marcher/v1\nguards: [{ name: a }]\n');
  await vi.waitFor(() => expect(source?.condition.message).toContain('"a" stands in'), { timeout: 5_000 });
});

test('what the agent finds wrong is told with the file and the place in it', async () => {
  writeFileSync(join(dir, 'a.yaml'), text('a'));
  writeFileSync(join(dir, 'b.yaml'), text('b', 'c'));
  answer = () => {
    const violation = create(ViolationSchema, { path: 'services[2].name', reason: 'r', fix: 'f' });
    throw new ApplicationError('invalid', 'm', [violation]);
  };
  await follow(dir);
  expect(source?.condition.message).toContain(`${join(dir, 'b.yaml')}:2:27: services[1].name: r (f)`);
});

test('a large source is parsed in a process of its own', async () => {
  const names = Array.from({ length: 30_000 }, (_, i) => `service-with-a-long-name-${i}`);
  writeFileSync(
    join(dir, 'c.json'),
    JSON.stringify({ apiVersion: 'marcher/v1', services: names.map((name) => ({ name })), guards: [{ name: 'edge' }] }),
  );
  await follow(join(dir, 'c.json'));
  expect(source?.condition.message).toContain('is in force');
  expect(applied.at(-1)).toEqual([...names, 'Guard/edge']);
}, 20_000);
