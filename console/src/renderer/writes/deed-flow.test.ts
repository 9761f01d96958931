// SPDX-License-Identifier: Apache-2.0
import type { Deed } from '@marcher/client/actions';
import { expect, test } from 'vitest';
import { type DeedEvent, type DeedFlow, nextDeed } from './deed-flow.js';

const deed = { title: 'revoke API key ci' } as Deed;
const done = { text: 'Nobody is let in.', undo: deed };
const WHY = { code: 'unreachable', message: 'nobody answers', violations: [] };
const START: DeedFlow = { step: 'filling' };
const after = (...events: DeedEvent[]): DeedFlow => events.reduce(nextDeed, START);
const DONE: DeedEvent[] = [{ kind: 'made', deed }, { kind: 'apply' }, { kind: 'done', done }];

test('a write is asked for, done, and taken back', () => {
  expect(after(...DONE)).toEqual({ step: 'done', deed, done });
  expect(after(...DONE, { kind: 'undo' }, { kind: 'done', done: { text: 'As before.' } })).toEqual({
    step: 'undone',
    text: 'As before.',
  });
});

test('what fails is where it was, with why', () => {
  const failed = { kind: 'failed', problem: WHY } as const;
  expect(after(failed)).toEqual({ step: 'filling', problem: WHY });
  expect(after({ kind: 'made', deed }, { kind: 'apply' }, failed)).toMatchObject({
    step: 'asking',
    problem: WHY,
  });
  expect(after(...DONE, { kind: 'undo' }, failed)).toMatchObject({ step: 'done', done, problem: WHY });
});

test('nothing is done twice by a second press, or undone where nothing can undo it', () => {
  const doing = after({ kind: 'made', deed }, { kind: 'apply' });
  expect(nextDeed(doing, { kind: 'apply' })).toBe(doing);
  expect(nextDeed(doing, { kind: 'back' })).toBe(doing);
  const lasting = after({ kind: 'made', deed }, { kind: 'apply' }, { kind: 'done', done: { text: '' } });
  expect(nextDeed(lasting, { kind: 'undo' })).toBe(lasting);
});
