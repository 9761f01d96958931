// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import {
  firstKeyring,
  GOSSIP_KEYS_MAX,
  type GossipKeyring,
  installKey,
  type KeyringVerdict,
  keyringFault,
  orderedKeys,
  removeKey,
  useKey,
} from './gossip-keyring.js';

const key = (fill: number) => ({ id: `k${fill}`, key: new Uint8Array(32).fill(fill) });

function taken(verdict: KeyringVerdict): GossipKeyring {
  if (verdict.kind === 'refused') throw new Error(verdict.reason);
  return verdict.keyring;
}

describe('the gossip keyring', () => {
  it('is rotated by install, use and remove', () => {
    let ring = firstKeyring(key(1));
    ring = taken(installKey(ring, key(2)));
    expect(orderedKeys(ring).map(([first]) => first)).toEqual([1, 2]);
    ring = taken(useKey(ring, 'k2'));
    expect(orderedKeys(ring).map(([first]) => first)).toEqual([2, 1]);
    ring = taken(removeKey(ring, 'k1'));
    expect(ring).toEqual(firstKeyring(key(2)));
  });

  it('takes each step again without harm', () => {
    const ring = taken(installKey(firstKeyring(key(1)), key(2)));
    expect(taken(installKey(ring, key(2)))).toEqual(ring);
    expect(taken(removeKey(ring, 'k9'))).toEqual(ring);
  });

  it('refuses to remove what seals, to use what is not there, short keys and too many', () => {
    const ring = firstKeyring(key(1));
    expect(removeKey(ring, 'k1').kind).toBe('refused');
    expect(useKey(ring, 'k2').kind).toBe('refused');
    expect(installKey(ring, { id: 'k2', key: new Uint8Array(16) }).kind).toBe('refused');
    const full = Array.from({ length: GOSSIP_KEYS_MAX - 1 }, (_, at) => key(at + 2)).reduce(
      (all, one) => taken(installKey(all, one)),
      ring,
    );
    expect(installKey(full, key(99)).kind).toBe('refused');
  });

  it('finds what is wrong with one from outside', () => {
    expect(keyringFault(firstKeyring(key(1)))).toBeUndefined();
    expect(keyringFault({ primary: 'k1', keys: [] })).toContain('0 keys');
    expect(keyringFault({ primary: 'k2', keys: [key(1)] })).toContain('primary');
    expect(keyringFault({ primary: 'k1', keys: [key(1), key(1)] })).toContain('one id');
    expect(keyringFault({ primary: 'k1', keys: [{ id: 'k1', key: new Uint8Array(1) }] })).toContain('32 bytes');
  });
});
