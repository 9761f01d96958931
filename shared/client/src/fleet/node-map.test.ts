// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { NodeDraft, NodeSlots } from './node-map.js';

const step = fc.oneof(
  fc.record({
    do: fc.constant('set' as const),
    key: fc.constantFrom('a', 'b', 'c', 'd'),
    value: fc.integer({ min: 0, max: 3 }),
  }),
  fc.record({ do: fc.constant('delete' as const), key: fc.constantFrom('a', 'b', 'c', 'd') }),
  fc.record({ do: fc.constantFrom('publish' as const, 'renumber' as const) }),
);

test('is what a Map is, never changes once it is published, and is the same as before where nothing has changed', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const slots = new NodeSlots();
      const draft = new NodeDraft<number>(slots);
      const model = new Map<string, number>();
      const seen: { readonly map: ReadonlyMap<string, number>; readonly was: readonly [string, number][] }[] = [];
      const sorted = (map: ReadonlyMap<string, number>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
      let isRenumbered = false;
      for (const each of steps) {
        if (each.do === 'set') {
          expect(draft.set(each.key, each.value)).toBe(model.get(each.key) !== each.value);
          model.set(each.key, each.value);
        } else if (each.do === 'delete') {
          expect(draft.delete(each.key)).toBe(model.delete(each.key));
        } else if (each.do === 'renumber') {
          draft.renumber(new NodeSlots());
          isRenumbered = true;
        } else {
          const map = draft.publish();
          expect(sorted(map)).toEqual(sorted(model));
          expect([map.size, [...map.keys()].length, [...map.values()].length]).toEqual([
            model.size,
            model.size,
            model.size,
          ]);
          for (const key of ['a', 'b', 'c', 'd', 'e'])
            expect([map.get(key), map.has(key)]).toEqual([model.get(key), model.has(key)]);
          const last = seen.at(-1);
          const isSame = last !== undefined && JSON.stringify(last.was) === JSON.stringify(sorted(model));
          if (isSame && !isRenumbered) expect(map).toBe(last.map);
          isRenumbered = false;
          seen.push({ map, was: sorted(model) });
        }
      }
      for (const { map, was } of seen) expect(sorted(map)).toEqual(was);
    }),
  );
});
