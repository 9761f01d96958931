// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { changedEntries, DraftMap, goneKeys } from './draft-map.js';

interface View {
  readonly of: string;
}

const VIEWS: readonly View[] = ['a', 'b', 'c'].map((of) => ({ of }));
const [A, B] = VIEWS as [View, View, View];

test('what was published never changes', () => {
  const draft = new DraftMap<string, View>();
  draft.set('one', A);
  const first = draft.publish();
  draft.set('one', B);
  draft.set('two', B);
  const second = draft.publish();
  draft.delete('one');
  const third = draft.publish();
  expect([[...first], [...second], [...third]]).toEqual([
    [['one', A]],
    [
      ['one', B],
      ['two', B],
    ],
    [['two', B]],
  ]);
});

test('nothing that changed is the same map: also what was set and set back, and deleted and set again', () => {
  const draft = new DraftMap<string, View>();
  expect(draft.publish()).toBe(draft.publish());
  draft.set('one', A);
  draft.set('two', B);
  const before = draft.publish();
  draft.set('one', B);
  draft.set('one', A);
  expect(draft.publish()).toBe(before);
  draft.delete('two');
  draft.set('two', B);
  draft.set('three', A);
  draft.delete('three');
  expect(draft.publish()).toBe(before);
});

test('maps with the same keys share them', () => {
  const draft = new DraftMap<string, View>();
  draft.set('one', A);
  const before = draft.publish();
  draft.set('one', B);
  const after = draft.publish();
  expect(after.places).toBe(before.places);
  expect(after.keyList).toBe(before.keyList);
});

test('entries in another order are another map, without keys that are not there', () => {
  const draft = new DraftMap<string, View>();
  for (const key of ['one', 'two', 'three']) draft.set(key, A);
  const before = draft.publish();
  expect([...draft.publishInOrder(['three', 'none', 'one']).keys()]).toEqual(['three', 'one']);
  expect([...before.keys()]).toEqual(['one', 'two', 'three']);
  draft.set('one', B);
  expect([...draft.publish()]).toEqual([
    ['three', A],
    ['one', B],
  ]);
});

test('is what a Map is, whatever is done with it, and says what has changed since any state before', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd', 'e');
  const steps = fc.array(
    fc.oneof(
      fc.record({ do: fc.constant('set' as const), key, value: fc.constantFrom(...VIEWS) }),
      fc.record({ do: fc.constant('delete' as const), key }),
      fc.record({ do: fc.constant('publish' as const) }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, (done) => {
      const draft = new DraftMap<string, View>();
      const model = new Map<string, View>();
      const states = [{ published: draft.publish(), entries: [...model] }];
      for (const step of [...done, { do: 'publish' as const }]) {
        if (step.do === 'set') {
          expect(draft.set(step.key, step.value)).toBe(model.get(step.key) !== step.value);
          model.set(step.key, step.value);
        } else if (step.do === 'delete') {
          expect(draft.delete(step.key)).toBe(model.delete(step.key));
        } else {
          states.push({ published: draft.publish(), entries: [...model] });
        }
        expect(draft.size).toBe(model.size);
        expect(draft.get('a')).toBe(model.get('a'));
      }
      for (const { published, entries } of states) {
        expect([...published]).toEqual(entries);
        expect([...published.keys()]).toEqual(entries.map(([each]) => each));
        expect([...published.values()]).toEqual(entries.map(([, value]) => value));
        expect(published.size).toBe(entries.length);
        for (const [each, value] of entries) expect(published.get(each)).toBe(value);
        expect(published.has('none')).toBe(false);
        const seen: unknown[] = [];
        published.forEach((value, each) => {
          seen.push([each, value]);
        });
        expect(seen).toEqual(entries);
      }
      const last = states.at(-1)?.published;
      for (const { published, entries } of states) {
        const then = new Map(entries);
        expect([...changedEntries(last ?? published, published)]).toEqual(
          [...model].filter(([each, value]) => then.get(each) !== value),
        );
        expect(goneKeys(last ?? published, published)).toEqual([...then.keys()].filter((each) => !model.has(each)));
      }
    }),
  );
});
