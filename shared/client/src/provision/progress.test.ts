// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mayUndo, nextProgress, type Progress, type ProgressEvent, progressOf, STEPS, toUndo } from './progress.js';

const after = (...events: ProgressEvent[]): Progress => events.reduce(nextProgress, progressOf(STEPS));
const done = (...steps: (typeof STEPS)[number][]): ProgressEvent[] =>
  steps.flatMap((step) => [{ kind: 'step-begun', step } as const, { kind: 'step-done', step } as const]);
const phases = ({ steps }: Progress): string => steps.map(({ phase }) => phase).join(' ');

describe('adding', () => {
  test('is done when the last step is, and may be kept then and no sooner', () => {
    const almost = after({ kind: 'begin' }, ...done('send', 'unpack', 'account', 'token', 'settings', 'start'));
    expect(almost.phase).toBe('running');
    expect(nextProgress(almost, { kind: 'keep' })).toBe(almost);
    const all = done('join').reduce(nextProgress, almost);
    expect(all.phase).toBe('done');
    expect(nextProgress(all, { kind: 'keep' }).phase).toBe('kept');
    expect(mayUndo(nextProgress(all, { kind: 'keep' }))).toBe(false);
  });

  test('takes steps in their order alone', () => {
    const begun = after({ kind: 'begin' });
    expect(nextProgress(begun, { kind: 'step-begun', step: 'start' })).toBe(begun);
    expect(phases(nextProgress(begun, { kind: 'step-begun', step: 'send' }))).toMatch(/^running waiting/);
  });

  test('ends with the step that fails', () => {
    const failed = after(
      { kind: 'begin' },
      ...done('send'),
      { kind: 'step-begun', step: 'unpack' },
      { kind: 'step-failed', step: 'unpack', reason: 'no space' },
    );
    expect(failed.phase).toBe('failed');
    expect(nextProgress(failed, { kind: 'step-begun', step: 'account' })).toBe(failed);
  });

  test('keeps of what is said the last 50 lines', () => {
    const said = Array.from({ length: 60 }, (_, i) => ({ kind: 'step-said', step: 'send', line: String(i) }) as const);
    const { steps } = after({ kind: 'begin' }, { kind: 'step-begun', step: 'send' }, ...said);
    expect(steps[0]?.lines).toHaveLength(50);
    expect(steps[0]?.lines.at(-1)).toBe('59');
  });
});

describe('undoing', () => {
  const failed = after(
    { kind: 'begin' },
    ...done('send', 'unpack', 'account'),
    { kind: 'step-begun', step: 'token' },
    { kind: 'step-failed', step: 'token', reason: 'denied' },
  );

  test('takes back the last first, the one that failed too', () => {
    expect(toUndo(failed)).toEqual(['token', 'account', 'unpack', 'send']);
  });

  test('is undone when all is, and says what is left otherwise, which may be tried again', () => {
    const undoing = nextProgress(failed, { kind: 'undo' });
    const each = (kind: 'undone' | 'left') => (progress: Progress, step: (typeof STEPS)[number]) => {
      const begun = nextProgress(progress, { kind: 'step-undoing', step });
      return nextProgress(
        begun,
        kind === 'left' && step === 'unpack'
          ? { kind: 'step-left', step, reason: 'busy' }
          : { kind: 'step-undone', step },
      );
    };
    const all = nextProgress(toUndo(undoing).reduce(each('undone'), undoing), { kind: 'undo-ended' });
    expect(all.phase).toBe('undone');
    const some = nextProgress(toUndo(undoing).reduce(each('left'), undoing), { kind: 'undo-ended' });
    expect(some.phase).toBe('left');
    expect(toUndo(some)).toEqual(['unpack']);
    expect(nextProgress(some, { kind: 'undo' }).phase).toBe('undoing');
  });
});

test('whatever happens in whichever order, no state says of itself what is not so', () => {
  const step = fc.constantFrom(...STEPS);
  const event = fc.oneof(
    fc.record({ kind: fc.constantFrom('begin', 'undo', 'undo-ended', 'keep') }),
    fc.record({ kind: fc.constantFrom('step-begun', 'step-done', 'step-undoing', 'step-undone'), step }),
    fc.record({ kind: fc.constantFrom('step-failed', 'step-left'), step, reason: fc.constant('why') }),
  ) as fc.Arbitrary<ProgressEvent>;
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), (events) => {
      const { phase, steps } = after(...events);
      const of = (...wanted: string[]): boolean => steps.every((each) => wanted.includes(each.phase));
      if (phase === 'done' || phase === 'kept') expect(of('done')).toBe(true);
      if (phase === 'undone') expect(of('waiting', 'undone')).toBe(true);
      if (phase === 'ready') expect(of('waiting')).toBe(true);
      if (phase === 'failed') expect(steps.filter((each) => each.phase === 'failed')).toHaveLength(1);
      // One at a time.
      expect(steps.filter((each) => each.phase === 'running').length).toBeLessThanOrEqual(1);
    }),
  );
});
