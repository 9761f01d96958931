// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jitterOf, LIFETIME, renewalAtMs } from '../identity/lifetime.js';
import {
  CERTIFICATE_LIMITS,
  certificateWrites,
  renewalTurn,
  renewsAtMs,
  revocationWrites,
  type ServiceCertificateRecord,
  standingOf,
  TURN_MS,
  unpackCertificate,
  unpackRevocation,
} from './service-certificate.js';

const DAY = 86_400_000;
const NOW = 1_795_000_000_000;

const RECORD: ServiceCertificateRecord = {
  name: 'api',
  chain: 'pem',
  sealedKey: Uint8Array.of(1, 2, 3),
  secretsKey: 'ab'.repeat(8),
  source: 'issued',
  days: 365,
  writtenMs: NOW,
  writtenBy: 'ada',
  earlier: [{ serial: 'ab12', notAfterMs: NOW + DAY }],
};

function valuesOf(writes: ReturnType<typeof certificateWrites>): Map<string, Uint8Array> {
  return new Map(writes.map(({ group, value }) => [group, value ?? new Uint8Array(0)]));
}

describe('records', () => {
  test('are read as they were written, certificate and key in one register', () => {
    const writes = certificateWrites(RECORD, true);
    expect(writes.map(({ kind, id, group }) => [kind, id, group])).toEqual([
      ['Certificate', 'api', ''],
      ['Certificate', 'api', '1'],
    ]);
    expect(unpackCertificate('api', valuesOf(writes))).toEqual(RECORD);
    expect(certificateWrites(RECORD, false)).toHaveLength(1);
  });

  test.each<[string, Partial<ServiceCertificateRecord>]>([
    ['a chain that is too large', { chain: 'x'.repeat(CERTIFICATE_LIMITS.chainBytes + 1) }],
    ['a key that is too large', { sealedKey: new Uint8Array(2 * CERTIFICATE_LIMITS.keyBytes + 1) }],
    ['a key sealed by nothing', { secretsKey: '' }],
    ['an issued one for no days', { days: 0 }],
    ['an issued one for ever', { days: 100_000 }],
  ])('with %s are none', (_what, odd) => {
    expect(unpackCertificate('api', valuesOf(certificateWrites({ ...RECORD, ...odd }, true)))).toBeUndefined();
  });

  test('what any node may have written never throws', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 70 }), fc.uint8Array({ maxLength: 60 }), (name, value) => {
        const values = new Map([['1', value]]);
        unpackCertificate(name, values);
        const revocation = unpackRevocation(name, values, NOW);
        if (revocation !== undefined) expect(revocation.notAfterMs).toBeLessThanOrEqual(2 ** 64 + LIFETIME.leafMaxMs);
      }),
    );
  });

  test('a revocation that can not be read revokes all the same, and none lasts longer than certificates do', () => {
    const one = { serial: 'ab12', revokedAtMs: NOW, reason: 1, notAfterMs: NOW + DAY };
    expect(unpackRevocation('ab12', valuesOf(revocationWrites(one)), NOW)).toEqual(one);
    const ever = revocationWrites({ ...one, notAfterMs: NOW + 10_000 * DAY, reason: 77 });
    const read = unpackRevocation('ab12', valuesOf(ever), NOW);
    expect(read).toEqual({ ...one, reason: 0, notAfterMs: NOW + LIFETIME.leafMaxMs });
    const torn = new Map([['1', Uint8Array.of(0xff)]]);
    expect(unpackRevocation('ab12', torn, NOW)).toMatchObject({ serial: 'ab12', reason: 0 });
    expect(unpackRevocation('00ab', torn, NOW)).toBeUndefined();
  });
});

test('imported ones are told of before they end, issued ones when nobody has renewed them', () => {
  const year = { notBeforeMs: NOW, notAfterMs: NOW + 300 * DAY };
  const imported = { renewsMs: undefined, revoked: false };
  const issued = { renewsMs: NOW + 150 * DAY, revoked: false };
  const at = (days: number) => NOW + days * DAY;
  expect([285, 287, 301, -1].map((days) => standingOf(year, imported, at(days)))).toEqual([
    'good',
    'expiring',
    'expired',
    'not-yet-valid',
  ]);
  expect([151, 179, 181, 301].map((days) => standingOf(year, issued, at(days)))).toEqual([
    'good',
    'good',
    'late',
    'expired',
  ]);
  expect(standingOf(year, { ...issued, revoked: true }, at(1))).toBe('revoked');
});

describe('renewals', () => {
  interface Copy {
    readonly serial: string;
    readonly notBeforeMs: number;
    readonly notAfterMs: number;
    /** Of the write: later ones stand. */
    readonly stamp: string;
  }

  const IDS = ['00000000000000a1', '00000000000000b2', '00000000000000c3', '00000000000000d4'];

  /** Nodes that sign, each with its copy and its own idea of who is there. */
  class Signers {
    readonly copies = new Map<string, Copy>();
    renewed = 0;

    constructor() {
      const first = { serial: '7fffffff', notBeforeMs: NOW, notAfterMs: NOW + 365 * DAY, stamp: '' };
      for (const id of IDS) this.copies.set(id, first);
    }

    /** alive: the others that it hears. Whether it has renewed. */
    look(id: string, alive: readonly string[], nowMs: number): boolean {
      const copy = this.copies.get(id) as Copy;
      const dueMs = renewalAtMs(copy, jitterOf(copy.serial));
      if (nowMs < renewsAtMs(dueMs, renewalTurn(alive, id))) return false;
      const serial = (++this.renewed * 0x10000001).toString(16);
      const stamp = `${String(nowMs).padStart(16, '0')} ${id}`;
      this.copies.set(id, { serial, notBeforeMs: nowMs, notAfterMs: nowMs + 365 * DAY, stamp });
      return true;
    }

    /** What one has written comes to the other. */
    merge(from: string, to: string): void {
      const [theirs, own] = [this.copies.get(from) as Copy, this.copies.get(to) as Copy];
      if (theirs.stamp > own.stamp) this.copies.set(to, theirs);
    }

    mergeAll(): void {
      for (const from of IDS) for (const to of IDS) this.merge(from, to);
    }
  }

  const others = (id: string): string[] => IDS.filter((other) => other !== id);

  test('of nodes that hear each other one renews, though what it wrote takes minutes to come to the others', () => {
    const orders = fc.array(fc.shuffledSubarray(IDS, { minLength: IDS.length }), { minLength: 40, maxLength: 40 });
    fc.assert(
      fc.property(orders, fc.integer({ min: 1, max: 8 }), (order, minutes) => {
        const signers = new Signers();
        const first = signers.copies.get(IDS[0] ?? '') as Copy;
        const beginMs = renewalAtMs(first, jitterOf(first.serial)) - 5 * 60_000;
        for (const [minute, turns] of order.entries()) {
          for (const id of turns) signers.look(id, others(id), beginMs + minute * 60_000);
          if (minute % minutes === 0) signers.mergeAll();
        }
        expect(signers.renewed).toBe(1);
      }),
      { numRuns: 100 },
    );
  });

  test('the next in turn renews what the first one does not', () => {
    const signers = new Signers();
    const copy = signers.copies.get(IDS[1] ?? '') as Copy;
    const dueMs = renewalAtMs(copy, jitterOf(copy.serial));
    expect(signers.look(IDS[1] ?? '', others(IDS[1] ?? ''), dueMs + TURN_MS - 1)).toBe(false);
    expect(signers.look(IDS[1] ?? '', others(IDS[1] ?? ''), dueMs + TURN_MS)).toBe(true);
    // Alone it does not wait.
    expect(new Signers().look(IDS[3] ?? '', [], dueMs)).toBe(true);
  });

  test('apart, late and out of order: once they hear each other all have one certificate, and none is due', () => {
    const step = fc.record({
      node: fc.constantFrom(...IDS),
      hears: fc.subarray(IDS),
      from: fc.constantFrom(...IDS),
      hours: fc.integer({ min: 0, max: 400 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
        const signers = new Signers();
        let nowMs = NOW;
        for (const { node, hears, from, hours } of steps) {
          nowMs += hours * 3_600_000;
          signers.look(node, hears, nowMs);
          signers.merge(from, node);
        }
        signers.mergeAll();
        const { renewed } = signers;
        const due = [...signers.copies.values()].some((copy) => nowMs >= renewalAtMs(copy, jitterOf(copy.serial)));
        for (const id of IDS) {
          signers.look(id, others(id), nowMs);
          signers.mergeAll();
        }
        expect(new Set([...signers.copies.values()].map(({ serial }) => serial)).size).toBe(1);
        expect(signers.renewed - renewed).toBeLessThanOrEqual(due ? 1 : 0);
      }),
      { numRuns: 200 },
    );
  });
});
