// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { create } from '@bufbuild/protobuf';
import { parseConfiguration } from '@marcher/model';
import { type Object$, ObjectSchema, type Service } from '@marcher/proto/marcher/v1/model_pb';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { AgentCalls } from '../fleet/contract.js';
import { simulatedAgents } from '../testing/index.js';
import { shellWord } from './command.js';
import { DrainDraft, EditDraft, isConfirmed, RemoveMemberDraft, RevertDraft, UndoDraft, WriteLock } from './index.js';

/** What a shell makes of the lines: of each marcher its arguments, and what it reads. */
function run(lines: string): { readonly words: string[]; readonly input: string }[] {
  // Each argument ends with a NUL, the arguments and the input with another one.
  const script = `marcher() { printf '%s\\0' "$@"; printf '\\1\\0'; if [ "$*" != "\${*%-f -*}" ]; then cat; fi; printf '\\0'; }\n${lines}`;
  const parts = execFileSync('/bin/sh', ['-c', script], { encoding: 'utf8', input: '' }).split('\0');
  const calls: { words: string[]; input: string }[] = [];
  let words: string[] = [];
  for (let at = 0; at < parts.length - 1; at++) {
    if (parts[at] !== '\u0001') words.push(parts[at] ?? '');
    else {
      calls.push({ words, input: parts[++at] ?? '' });
      words = [];
    }
  }
  return calls;
}

const named = async (calls: AgentCalls, name: string): Promise<Service> =>
  (await calls.config.get({ name })).resource?.service as Service;
const reweighted = (service: Service, weight: number): Service => ({
  ...service,
  backends: service.backends.map((backend, at) => (at === 0 ? { ...backend, weight } : backend)),
});

function changed(before: Service, weight: number) {
  return { kind: 'Service' as const, name: before.name, before, after: reweighted(before, weight) };
}

test('an edit is planned, applied to the version that it was planned for, and undone by a revert', async () => {
  const { entry } = simulatedAgents({ nodes: 3 });
  const calls = entry.calls();
  const before = await named(calls, 'service-0001');
  const draft = new EditDraft(calls, [changed(before, 7)]);
  const plan = await draft.plan();
  expect(plan).toMatchObject({ canApply: true, moved: [], counts: { create: 0, update: 1, delete: 0 } });
  const applied = await draft.apply(plan, { message: 'a is larger' });
  expect(applied).toMatchObject({ changed: true, fromVersion: plan.version, version: plan.version + 1n });
  const undo = new UndoDraft(calls, applied);
  const back = await undo.plan();
  expect(back).toMatchObject({ how: 'revert', canApply: true });
  expect(run(undo.asCommand(back))).toEqual([
    { words: ['revert', '1', '-m', 'undo of version 2', '--expected-version', '2'], input: '' },
  ]);
  await undo.apply(back);
  expect(await named(calls, 'service-0001')).toEqual(before);
});

test('an edit that others have built upon is undone alone, and not at all where they changed the same', async () => {
  const { entry } = simulatedAgents({ nodes: 1 });
  const calls = entry.calls();
  const before = await named(calls, 'service-0001');
  const draft = new EditDraft(calls, [changed(before, 7)]);
  const applied = await draft.apply(await draft.plan());
  const other = await named(calls, 'service-0002');
  await calls.config.apply({ change: { upsert: [reweighted(other, 3)] } });
  const undo = new UndoDraft(calls, applied);
  const plan = await undo.plan();
  expect(plan).toMatchObject({ how: 'inverse', canApply: true });
  expect(run(undo.asCommand(plan))[0]?.words.slice(0, 3)).toEqual(['apply', '-f', '-']);
  await undo.apply(plan);
  expect(await named(calls, 'service-0001')).toEqual(before);
  expect((await named(calls, 'service-0002')).backends[0]?.weight).toBe(3);

  const again = await draft.apply(await draft.plan());
  await calls.config.apply({ change: { upsert: [reweighted(before, 9)] } });
  const late = new UndoDraft(calls, again);
  const refused = await late.plan();
  expect(refused).toMatchObject({ canApply: false, moved: ['service service-0001'] });
  await expect(late.apply(refused)).rejects.toMatchObject({ code: 'conflict' });
});

test('an edit of what somebody else has changed meanwhile is not applied', async () => {
  const { entry } = simulatedAgents({ nodes: 1 });
  const calls = entry.calls();
  const before = await named(calls, 'service-0001');
  const draft = new EditDraft(calls, [changed(before, 7)]);
  const early = await draft.plan();
  await calls.config.apply({ change: { upsert: [reweighted(before, 9)] } });
  await expect(draft.apply(early)).rejects.toMatchObject({ code: 'conflict' });
  const plan = await draft.plan();
  expect(plan).toMatchObject({ canApply: false, moved: ['service service-0001'] });
  await expect(draft.apply(plan)).rejects.toMatchObject({ code: 'conflict' });
  expect((await named(calls, 'service-0001')).backends[0]?.weight).toBe(9);
});

test('a plan has all violations, and nothing to apply', async () => {
  const { entry } = simulatedAgents({ nodes: 1 });
  const calls = entry.calls();
  const before = await named(calls, 'service-0001');
  const after = { ...before, backends: before.backends.map((backend) => ({ ...backend, address: '' })) };
  const plan = await new EditDraft(calls, [{ kind: 'Service', name: before.name, before, after }]).plan();
  expect(plan.violations.map(({ path }) => path)).toEqual([
    'services[0].backends[0].address',
    'services[0].backends[1].address',
  ]);
  expect(plan.canApply).toBe(false);
});

test('of objects that are created and deleted the command does the same', async () => {
  const { entry } = simulatedAgents({ nodes: 1 });
  const calls = entry.calls();
  const policy: Object$ = create(ObjectSchema, {
    object: { case: 'trafficPolicy', value: { name: 'gold', dscp: 46 } },
  });
  const gone = await named(calls, 'service-0003');
  const draft = new EditDraft(calls, [
    { kind: 'TrafficPolicy', name: 'gold', before: undefined, after: policy },
    { kind: 'Service', name: gone.name, before: gone, after: undefined },
  ]);
  const plan = await draft.plan();
  expect(plan.counts).toEqual({ create: 1, update: 0, delete: 1 });
  const [apply, remove] = run(draft.asCommand({ target: 'prod' }, plan, "it's time"));
  expect(apply?.words).toEqual(['-t', 'prod', 'apply', '-f', '-', '-m', "it's time", '--expected-version', '1']);
  const parsed = parseConfiguration(apply?.input ?? '');
  expect('configuration' in parsed && parsed.configuration?.trafficPolicies[0]).toMatchObject({
    name: 'gold',
    dscp: 46,
  });
  expect(remove?.words).toEqual(['-t', 'prod', 'delete', 'services', 'service-0003', '-m', "it's time"]);
  expect(draft.confirmation).toMatchObject({ kind: 'typed', text: 'service-0003' });
  await new UndoDraft(calls, await draft.apply(plan))
    .plan()
    .then((undo) => expect(undo.counts).toMatchObject({ create: 1, delete: 1 }));
});

test('an object keeps its name', () => {
  const { entry } = simulatedAgents({ nodes: 1 });
  const service = entry.configuration.service('service-0001') as Service;
  const after = { ...service, name: 'other' };
  expect(() => new EditDraft(entry.calls(), [{ kind: 'Service', name: service.name, before: service, after }])).toThrow(
    'would be called other',
  );
});

test('each node drains for itself, and those that have can take it back', async () => {
  const { agents } = simulatedAgents({ nodes: 3, moving: 1 });
  agents[2]?.kill();
  const nodes = agents.map((agent, at) => ({
    key: agent.id,
    name: agent.name,
    isEntry: at === 0,
    calls: agent.calls(),
  }));
  const draft = new DrainDraft({ verb: 'drain', backend: { service: 'service-0001', backend: 'a' }, nodes });
  expect(draft.confirmation.kind).toBe('plain');
  const results = await draft.apply();
  expect(results.map((result) => 'error' in result)).toEqual([false, false, true]);
  expect(agents[1]?.backends().get('service-0001/a')?.draining).toBe(true);
  expect(run(draft.asCommand())).toEqual([
    { words: ['drain', 'service-0001', 'a'], input: '' },
    { words: ['drain', 'service-0001', 'a', '--node', 'node02'], input: '' },
    { words: ['drain', 'service-0001', 'a', '--node', 'node03'], input: '' },
  ]);
  const undo = draft.undo(results);
  expect(undo?.title).toBe('undrain backend service-0001/a on 2 nodes');
  await undo?.apply();
  expect(agents[1]?.backends().get('service-0001/a')?.draining).toBe(false);
});

test('a node is drained, and removed, by typing its name', () => {
  const { entry } = simulatedAgents({ nodes: 1 });
  const node = { key: entry.id, name: entry.name, isEntry: true, calls: entry.calls() };
  const { confirmation } = new DrainDraft({ verb: 'drain', nodes: [node] });
  expect([isConfirmed(confirmation, 'y'), isConfirmed(confirmation, ' node01\n')]).toEqual([false, true]);
  const removal = new RemoveMemberDraft(entry.calls(), { id: '8a3f0c61d2e90002', name: 'node02' });
  expect(isConfirmed(removal.confirmation, 'node02')).toBe(true);
  expect(run(removal.asCommand())[0]?.words).toEqual(['mesh', 'remove', '8a3f0c61d2e90002', '-y']);
});

test('a revert shows what it takes back', async () => {
  const { entry } = simulatedAgents({ nodes: 1 });
  const calls = entry.calls();
  const before = await named(calls, 'service-0001');
  for (const weight of [2, 3]) await calls.config.apply({ change: { upsert: [reweighted(before, weight)] } });
  const draft = new RevertDraft(calls, 1n);
  const plan = await draft.plan();
  expect(plan.undone.map(({ version }) => version)).toEqual([3n, 2n]);
  expect(run(draft.asCommand({}, plan, 'back'))[0]?.words).toEqual([
    'revert',
    '1',
    '-m',
    'back',
    '--expected-version',
    '3',
  ]);
  expect(await draft.apply(plan)).toBe(4n);
  expect(await named(calls, 'service-0001')).toEqual(before);
  await expect(new RevertDraft(calls, 9n).plan()).rejects.toMatchObject({ code: 'not_found' });
});

test('a shell reads each word as it is', () => {
  const words = fc.array(
    fc
      .string({ unit: 'binary' })
      .filter((word) => word.isWellFormed() && !word.includes('\0') && !word.includes('\u0001')),
    {
      minLength: 1,
      maxLength: 60,
    },
  );
  fc.assert(
    fc.property(words, (list) => {
      expect(run(`marcher ${list.map(shellWord).join(' ')}`)[0]?.words).toEqual(list);
    }),
    { numRuns: 15 },
  );
});

test('a mesh is read-only until it is unlocked, and again after a quarter of an hour', async () => {
  let nowMs = 0;
  const lock = new WriteLock(() => nowMs);
  const write = async (mesh: string): Promise<string> => await lock.write(mesh, async () => 'done');
  await expect(write('a')).rejects.toThrow('read-only');
  lock.unlock('a');
  nowMs += 10 * 60_000;
  await expect(write('a')).resolves.toBe('done');
  await expect(write('b')).rejects.toThrow('read-only');
  nowMs += 14 * 60_000;
  expect(lock.isUnlocked('a')).toBe(true);
  nowMs += 60_000;
  await expect(write('a')).rejects.toThrow('read-only');
});
