// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { address, VERSIONS } from '../sim/lone-node.js';
import { type Member, MemberTable } from './members.js';
import { seededRandom } from './random.js';

const member = (name: string, state: Member['state'] = 'alive', changedMs = 0): Member => ({
  name,
  address: address(name),
  meta: new Uint8Array(),
  incarnation: 1,
  state,
  versions: VERSIONS,
  changedMs,
});

function table(...members: Member[]): { members: MemberTable; random: () => number } {
  const random = seededRandom(3);
  const made = new MemberTable();
  for (const one of members) made.insert(one, random);
  return { members: made, random };
}

describe('table of members', () => {
  it('gives each member once a round, in another order each round', () => {
    const names = Array.from({ length: 20 }, (_, index) => `m${index}`);
    const { members, random } = table(...names.map((name) => member(name)));
    const rounds = [1, 2, 3].map(() =>
      names.map(
        () =>
          members.nextProbe(
            () => true,
            0,
            random,
            () => {},
          )?.name,
      ),
    );
    for (const round of rounds) expect([...round].sort()).toEqual([...names].sort());
    // New ones stand at random places from the beginning.
    expect(rounds[0]).not.toEqual(names);
    expect(rounds[1]).not.toEqual(rounds[2]);
  });

  it('skips those that may not be probed, and ends when there is none', () => {
    const { members, random } = table(member('a'), member('b', 'dead'));
    const mayProbe = (one: Member): boolean => one.state === 'alive';
    expect([1, 2, 3].map(() => members.nextProbe(mayProbe, 0, random, () => {})?.name)).toEqual(['a', 'a', 'a']);
    expect(
      members.nextProbe(
        () => false,
        0,
        random,
        () => {},
      ),
    ).toBeUndefined();
    expect(
      table().members.nextProbe(
        () => true,
        0,
        random,
        () => {},
      ),
    ).toBeUndefined();
  });

  it('forgets after a round who died or left before a time, and nobody else', () => {
    const { members, random } = table(member('old', 'dead', 10), member('gone', 'left', 10), member('new', 'dead', 90));
    members.insert(member('well', 'alive', 1), random);
    const forgotten: string[] = [];
    members.nextProbe(
      () => false,
      50,
      random,
      (name) => forgotten.push(name),
    );
    expect(forgotten.sort()).toEqual(['gone', 'old']);
    expect(
      members
        .all()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['new', 'well']);
    expect([members.get('old'), members.get('gone'), members.size]).toEqual([undefined, undefined, 2]);
  });

  it('picks different members that are acceptable, all of them when there are few', () => {
    const few = table(member('a'), member('b'), member('c', 'left'));
    const accept = (one: Member): boolean => one.state === 'alive';
    expect(
      few.members
        .pick(3, few.random, accept)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['a', 'b']);
    const many = table(...Array.from({ length: 50 }, (_, index) => member(`m${index}`)));
    const picked = many.members.pick(16, many.random, () => true);
    expect([picked.length, new Set(picked).size]).toEqual([16, 16]);
  });
});
