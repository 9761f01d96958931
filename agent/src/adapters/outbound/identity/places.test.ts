// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { Places } from './places.js';

function opened(): { evicted: string[]; enter: (source: string, name: string) => () => void } {
  const places = new Places({ most: 3, mostPerSource: 2 });
  const evicted: string[] = [];
  return { evicted, enter: (source, name) => places.enter(source, () => void evicted.push(name)) };
}

describe('places', () => {
  it('are bounded per source: the oldest of the same source goes', () => {
    const { evicted, enter } = opened();
    for (const [source, name] of [
      ['x', 'x1'],
      ['a', 'a1'],
      ['a', 'a2'],
      ['a', 'a3'],
    ] as const)
      enter(source, name);
    expect(evicted).toEqual(['a1']);
  });

  it('are bounded in all: the oldest of all goes', () => {
    const { evicted, enter } = opened();
    for (const [source, name] of [
      ['a', 'a1'],
      ['b', 'b1'],
      ['c', 'c1'],
      ['d', 'd1'],
      ['e', 'e1'],
    ] as const) {
      enter(source, name);
    }
    expect(evicted).toEqual(['a1', 'b1']);
  });

  it('make room when they are over, once, though that is told by success and by the end of the connection', () => {
    const { evicted, enter } = opened();
    const leave = enter('a', 'a1');
    enter('a', 'a2');
    leave();
    leave();
    enter('a', 'a3');
    expect(evicted).toEqual([]);
    enter('a', 'a4');
    expect(evicted).toEqual(['a2']);
    for (const name of ['b1', 'c1', 'd1']) enter(name, name);
    expect(evicted).toEqual(['a2', 'a3', 'a4']);
  });
});
