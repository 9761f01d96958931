// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { simulatedAgents } from '@marcher/client/testing';
import { FieldDiffSchema, ObjectDiffSchema, Operation } from '@marcher/proto/marcher/v1/config_service_pb';
import { ListenerSchema, type Service } from '@marcher/proto/marcher/v1/model_pb';
import { describe, expect, test } from 'vitest';
import { declaredNow, editing, reverting, takenBack } from './write.js';

const simulation = () => simulatedAgents({ nodes: 1, services: 2 });
const changed = (before: Service, port: number): Service => ({
  ...before,
  listeners: [create(ListenerSchema, { protocol: 1, ports: [{ first: port, last: port }] })],
});

async function service(calls: ReturnType<typeof simulation>['reach']['entry'], name: string): Promise<Service> {
  const found = (await calls.config.get({ name })).resource?.service;
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
}

describe('an edit', () => {
  test('is planned, applied and taken back, and is a command line', async () => {
    const { entry } = simulation().reach;
    const name = 'service-0000';
    const before = await service(entry, name);
    const write = await editing(entry, [{ kind: 'Service', name, before, after: changed(before, 9_000) }]);
    expect(write).toMatchObject({ title: 'Change service service-0000', typed: undefined });
    const { version, violations, moved } = await write.plan();
    expect({ violations, moved }).toEqual({ violations: [], moved: [] });
    expect(write.command('why')).toContain(`--expected-version ${version}`);
    expect(await write.apply('why')).toMatchObject({ before: version, version: version + 1n });
    expect((await service(entry, name)).listeners[0]?.ports[0]?.first).toBe(9_000);
    expect(await write.undo()).toBe(version + 2n);
    expect(await service(entry, name)).toEqual(before);
  });

  test('says what somebody else has changed meanwhile, and does not take it back', async () => {
    const { entry } = simulation().reach;
    const name = 'service-0000';
    const before = await service(entry, name);
    const write = await editing(entry, [{ kind: 'Service', name, before, after: changed(before, 9_000) }]);
    const other = await editing(entry, [{ kind: 'Service', name, before, after: changed(before, 9_001) }]);
    await other.plan();
    await other.apply('');
    expect((await write.plan()).moved).toEqual([`service ${name}`]);
    await expect(write.apply('')).rejects.toMatchObject({ code: 'conflict' });
  });

  test('that removes asks for the name', async () => {
    const { entry } = simulation().reach;
    const name = 'service-0001';
    const before = await service(entry, name);
    const write = await editing(entry, [{ kind: 'Service', name, before, after: undefined }]);
    expect(write.typed).toBe(name);
  });
});

test('what is edited is what the agent has, not what was observed a moment ago', async () => {
  const { entry } = simulation().reach;
  const name = 'service-0000';
  const before = await service(entry, name);
  const other = await editing(entry, [{ kind: 'Service', name, before, after: changed(before, 9_001) }]);
  await other.plan();
  await other.apply('');
  const { declared } = await declaredNow(entry, { kind: 'Service', name });
  expect(declared).toEqual(await service(entry, name));
  for (const kind of ['Service', 'Guard'] as const) {
    await expect(declaredNow(entry, { kind, name: 'nobody' })).rejects.toMatchObject({ code: 'not_found' });
  }
});

test('a revert shows what it takes back, and can be taken back', async () => {
  const { entry } = simulation().reach;
  const name = 'service-0000';
  const before = await service(entry, name);
  const edit = await editing(entry, [{ kind: 'Service', name, before, after: undefined }]);
  const { version } = await edit.plan();
  await edit.apply('');
  const write = await reverting(entry, version);
  expect((await write.plan()).diffs).toMatchObject([{ kind: 'Service', operation: Operation.CREATE }]);
  const applied = await write.apply('');
  expect((await service(entry, name)).name).toBe(name);
  expect(await write.undo()).toBe(applied.version + 1n);
  await expect(service(entry, name)).rejects.toMatchObject({ code: 'not_found' });
});

test('what is taken back is the opposite of what was done, field by field', () => {
  const field = create(FieldDiffSchema, { path: 'backends[0].weight', before: '1', after: '2' });
  const diffs = [Operation.CREATE, Operation.UPDATE, Operation.DELETE].map((operation) =>
    create(ObjectDiffSchema, { kind: 'Service', name: 'web', operation, fields: [field] }),
  );
  const back = takenBack({ version: 7n, diffs });
  expect(back.map(({ operation }) => operation)).toEqual([Operation.DELETE, Operation.UPDATE, Operation.CREATE]);
  expect(back[0]).toMatchObject({ name: 'web (as before version 7)', fields: [{ before: '2', after: '1' }] });
});
