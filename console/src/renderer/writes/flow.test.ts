// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ObjectDiffSchema, ViolationSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { describe, expect, test } from 'vitest';
import { asFailure, FLOW_START, type Flow, type FlowEvent, nextFlow } from './flow.js';

const diff = create(ObjectDiffSchema, { kind: 'Service', name: 'web' });
const plan = { version: 7n, diffs: [diff], violations: [], moved: [] };
const applied = { before: 7n, version: 8n, diffs: [diff] };
const failure = (code: string) => ({ code, message: 'no', violations: [] });
const after = (...events: readonly FlowEvent[]): Flow => events.reduce(nextFlow, FLOW_START);

describe('a write', () => {
  test('is planned, applied and taken back', () => {
    expect(after({ kind: 'planned', plan })).toEqual({ step: 'planned', plan, moved: false });
    expect(after({ kind: 'planned', plan }, { kind: 'apply' }, { kind: 'applied', applied })).toEqual({
      step: 'applied',
      applied,
    });
    const back: FlowEvent[] = [{ kind: 'undo' }, { kind: 'undone', version: 9n }];
    expect(after({ kind: 'planned', plan }, { kind: 'apply' }, { kind: 'applied', applied }, ...back)).toEqual({
      step: 'undone',
      applied,
      version: 9n,
    });
  });

  test('is not applied before it was planned, nor where the plan is not valid or changes nothing', () => {
    expect(after({ kind: 'apply' }).step).toBe('planning');
    const violations = [create(ViolationSchema, { path: 'services[0]', reason: 'is wrong' })];
    expect(after({ kind: 'planned', plan: { ...plan, violations } }, { kind: 'apply' }).step).toBe('planned');
    expect(after({ kind: 'planned', plan: { ...plan, diffs: [] } }, { kind: 'apply' }).step).toBe('planned');
    expect(after({ kind: 'planned', plan: { ...plan, moved: ['service web'] } }, { kind: 'apply' }).step).toBe(
      'planned',
    );
  });

  test('is planned again where the configuration has moved meanwhile, and says so', () => {
    const moved = after({ kind: 'planned', plan }, { kind: 'apply' }, { kind: 'failed', failure: failure('conflict') });
    expect(moved).toEqual({ step: 'planning', moved: true });
    expect(nextFlow(moved, { kind: 'planned', plan })).toMatchObject({ step: 'planned', moved: true });
  });

  test('stays applied where its undoing fails, with why', () => {
    const undoing = [
      { kind: 'planned', plan },
      { kind: 'apply' },
      { kind: 'applied', applied },
      { kind: 'undo' },
    ] as const;
    expect(after(...undoing, { kind: 'failed', failure: failure('conflict') })).toEqual({
      step: 'applied',
      applied,
      failure: failure('conflict'),
    });
  });

  test('that fails otherwise says why', () => {
    expect(after({ kind: 'planned', plan }, { kind: 'apply' }, { kind: 'failed', failure: failure('denied') })).toEqual(
      {
        step: 'failed',
        failure: failure('denied'),
      },
    );
  });
});

test('what is no AgentError is a failure, too', () => {
  expect(asFailure(new Error('offline'))).toEqual({ code: 'failed', message: 'offline', violations: [] });
});
