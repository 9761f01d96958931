// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Claim, PortOwnership } from './port-ownership.js';

const ANY4 = '00000000';
const ANY6 = '0'.repeat(32);
const ADDRESSES = ['', ANY4, ANY6, '0a000001', '0a000002', `${'0'.repeat(31)}1`];

function covers(a: string, b: string): boolean {
  if (a === b || a === '' || b === '') return true;
  return a.length === b.length && [a, b].some((address) => address === ANY4 || address === ANY6);
}

function conflict(a: Claim, b: Claim): boolean {
  return a.udp === b.udp && a.first <= b.last && b.first <= a.last && covers(a.address, b.address);
}

const claim = fc
  .record({
    udp: fc.boolean(),
    address: fc.constantFrom(...ADDRESSES),
    first: fc.integer({ min: 1, max: 40 }),
    length: fc.nat(6),
  })
  .map(({ udp, address, first, length }): Claim => ({ udp, address, first, last: first + length }));

test('agrees with comparing every claim with every other', () => {
  const step = fc.record({ claim, release: fc.boolean(), pick: fc.nat() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const ports = new PortOwnership();
      const held: { owner: string; claim: Claim }[] = [];
      steps.forEach(({ claim, release, pick }, i) => {
        if (release && held.length > 0) {
          const [gone] = held.splice(pick % held.length, 1);
          if (gone !== undefined) ports.release(gone.owner, gone.claim);
          return;
        }
        const owner = `s${i}`;
        const expected = held.filter((other) => conflict(other.claim, claim)).map((other) => other.owner);
        const found = ports.claim(owner, claim);
        if (expected.length === 0) {
          expect(found).toBeUndefined();
          held.push({ owner, claim });
        } else expect(expected).toContain(found?.owner);
      });
    }),
    { numRuns: 500 },
  );
});

test('of prefixes and of every port only equal ones conflict', () => {
  const ports = new PortOwnership();
  const udp = false;
  const wide = { udp, address: '0a000000', length: 8, first: 80, last: 90 };
  expect(ports.claim('wide', wide)).toBeUndefined();
  expect(ports.claim('any', { udp, address: '', first: 80, last: 80 })).toBeUndefined();
  expect(ports.claim('longer', { ...wide, length: 16 })).toBeUndefined();
  expect(ports.claim('every', { ...wide, first: 1, last: 65_535, everyPort: true })).toBeUndefined();
  expect(ports.claim('udp', { ...wide, udp: true })).toBeUndefined();
  expect(ports.claim('same', { ...wide, first: 85, last: 100 })).toEqual({
    owner: 'wide',
    port: 85,
    address: '0a000000',
  });
  expect(ports.claim('same', { ...wide, first: 1, last: 65_535, everyPort: true })?.owner).toBe('every');
  ports.release('wide', wide);
  expect(ports.claim('same', { ...wide, first: 85, last: 100 })).toBeUndefined();
});

test('every port of an address has one owner, whoever carries it', () => {
  const relayed = { udp: false, address: '0a000001', first: 1, last: 65_535 };
  const packets = { ...relayed, everyPort: true };
  const conflict = (owner: string) => ({ owner, port: 1, address: '0a000001' });
  const ports = new PortOwnership();
  expect(ports.claim('relay', relayed)).toBeUndefined();
  expect(ports.claim('packets', packets)).toEqual(conflict('relay'));
  expect(ports.claim('packets', { ...packets, udp: true })).toBeUndefined();
  ports.release('relay', relayed);
  expect(ports.claim('packets', packets)).toBeUndefined();
  expect(ports.claim('relay', relayed)).toEqual(conflict('packets'));
  expect(ports.claim('some', { ...relayed, last: 65_534 })).toBeUndefined();
});
