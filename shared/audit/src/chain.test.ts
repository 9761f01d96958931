// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Anchor,
  type AuditEntry,
  type AuditRecord,
  ChainVerifier,
  clipped,
  decodeRecord,
  dropObject,
  encodeRecord,
  FINDINGS_MAX,
  type Head,
  headBytes,
  type Link,
  linkHash,
  OUTCOMES,
  RECORD_LIMITS,
  startOf,
  type Verdict,
} from './index.js';

const NODE = '00c0ffee00c0ffee';
const LOG = new Uint8Array(16).fill(7);
const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
/** Not a signature: what is tested is that it is asked for. */
const sign = (hashed: Uint8Array): Uint8Array => new Uint8Array([...hashed, ...hashed]);
const verify = (_node: string, hashed: Uint8Array, signature: Uint8Array): boolean =>
  Buffer.compare(sign(hashed), signature) === 0;

const ENTRY: AuditEntry = {
  timeMs: 1_800_000_000_000,
  action: 'marcher.v1.ConfigService/Apply',
  actor: 'root (uid 0)',
  via: 'socket',
  source: '',
  outcome: 'done',
  objects: ['Service/web'],
  moreObjects: 0,
  version: 3n,
  message: 'why',
  repeated: 0,
};

function chained(entries: readonly AuditEntry[], from: Anchor = startOf(LOG, hash)): Link[] {
  const links: Link[] = [];
  let { sequence, hash: previous } = from;
  for (const entry of entries) {
    const body = encodeRecord({ ...entry, sequence: ++sequence });
    previous = linkHash(previous, body, hash);
    links.push({ sequence, body, hash: previous });
  }
  return links;
}

function headOf({ sequence, hash: hashed }: Link, log = LOG): Head {
  const head = { node: NODE, log, sequence, hash: hashed, timeMs: 1_800_000_000_000 };
  return { ...head, signature: sign(hash(headBytes(head))) };
}

function verdictOn(links: readonly Link[], heads: readonly Head[] = [], anchor = startOf(LOG, hash)): Verdict {
  const verifier = new ChainVerifier({ node: NODE, log: LOG, anchor, heads, hash, verify });
  for (const link of links) verifier.take(link);
  return verifier.end();
}

const brief = ({ findings }: Verdict): string[] => findings.map(({ kind, sequence }) => `${kind} ${sequence}`);
const ten = chained(Array.from({ length: 10 }, (_, i) => ({ ...ENTRY, message: `change ${i}` })));

const texts = fc.string({ unit: 'grapheme', maxLength: 40 });
const entries: fc.Arbitrary<AuditEntry> = fc.record({
  timeMs: fc.nat(2 ** 31),
  action: texts,
  actor: texts,
  via: texts,
  source: texts,
  outcome: fc.constantFrom(...OUTCOMES),
  objects: fc.array(texts, { maxLength: 5 }),
  moreObjects: fc.nat(),
  version: fc.bigInt(0n, 2n ** 64n - 1n),
  message: texts,
  repeated: fc.nat(),
});

describe('bytes of a record', () => {
  test('say the record, and only these bytes do', () => {
    fc.assert(
      fc.property(entries, fc.nat(2 ** 40), fc.nat(), fc.integer({ min: 1, max: 255 }), (entry, sequence, at, by) => {
        const record: AuditRecord = { ...clipped(entry), sequence };
        const bytes = encodeRecord(record);
        expect(decodeRecord(bytes)).toEqual(record);
        const changed = Uint8Array.from(bytes);
        changed[at % bytes.length] = ((changed[at % bytes.length] as number) + by) % 256;
        const other = decodeRecord(changed);
        if (typeof other !== 'string') expect(encodeRecord(other)).toEqual(changed);
        expect(typeof decodeRecord(bytes.subarray(0, at % bytes.length))).toBe('string');
      }),
    );
  });

  test('are those that were agreed on', () => {
    expect(Buffer.from(encodeRecord({ ...ENTRY, sequence: 1 })).toString('hex')).toBe(
      '01' +
        '0000000000000001' +
        '000001a3185c5000' +
        '01' +
        '0000000000000003' +
        '00000000' +
        '00000000' +
        '0001' +
        `0000001e${Buffer.from(ENTRY.action).toString('hex')}` +
        `0000000c${Buffer.from(ENTRY.actor).toString('hex')}` +
        `00000006${Buffer.from('socket').toString('hex')}` +
        '00000000' +
        `00000003${Buffer.from('why').toString('hex')}` +
        `0000000b${Buffer.from('Service/web').toString('hex')}`,
    );
  });

  test('of a later format are told from damaged ones', () => {
    const bytes = encodeRecord({ ...ENTRY, sequence: 1 });
    bytes[0] = 2;
    expect(decodeRecord(bytes)).toContain('format 2');
    expect(decodeRecord(new Uint8Array(RECORD_LIMITS.bytes + 1))).toContain('more than 65536');
    expect(typeof decodeRecord(new Uint8Array(0))).toBe('string');
  });

  test('are bounded, whatever was asked for', () => {
    const long = 'ü'.repeat(10_000);
    const objects = Array.from({ length: 1_000 }, (_, i) => `${i}${long}`);
    const texts = { action: long, actor: long, via: long, source: long, message: `${long}\ud800` };
    const entry = clipped({ ...ENTRY, ...texts, objects, moreObjects: 5, repeated: 2 ** 40 });
    const bytes = encodeRecord({ ...entry, sequence: 1 });
    expect(bytes.length).toBeLessThan(RECORD_LIMITS.bytes);
    expect(decodeRecord(bytes)).toMatchObject({ moreObjects: 955, repeated: 2 ** 32 - 1 });
  });
});

describe('a chain', () => {
  test('that nobody touched has no findings, and its heads are checked', () => {
    const verdict = verdictOn(ten, [headOf(ten[3] as Link), headOf(ten[9] as Link)]);
    expect(verdict).toMatchObject({ records: 10, headsChecked: 2, findings: [], moreFindings: 0 });
    expect(verdict.end.sequence).toBe(10);
  });

  test('any byte of any record or hash that is changed is found, and its record named', () => {
    fc.assert(
      fc.property(fc.nat(9), fc.boolean(), fc.nat(), fc.integer({ min: 1, max: 255 }), (index, inBody, at, by) => {
        const links = ten.map((link) => ({ ...link, body: link.body.slice(), hash: Uint8Array.from(link.hash) }));
        const bytes = inBody ? (links[index] as Link).body : (links[index] as Link).hash;
        bytes[at % bytes.length] = ((bytes[at % bytes.length] as number) + by) % 256;
        expect(brief(verdictOn(links))).toEqual([`altered ${index + 1}`]);
      }),
    );
  });

  test('whatever is left out, swapped or cut off is found and named, given the newest head', () => {
    const newest = [headOf(ten[9] as Link)];
    for (let i = 0; i < 9; i++) {
      const left = ten.toSpliced(i, 1);
      expect(brief(verdictOn(left, newest))).toEqual([`gap ${i + 1}`]);
      const [one, other] = [ten[i], ten[i + 1]] as [Link, Link];
      const swapped = ten.toSpliced(i, 2, { ...other, sequence: i + 1 }, { ...one, sequence: i + 2 });
      expect(brief(verdictOn(swapped, newest))).toEqual(
        expect.arrayContaining([`altered ${i + 1}`, `altered ${i + 2}`]),
      );
      const turned = ten.toSpliced(i, 2, other, one);
      expect(brief(verdictOn(turned, newest)).slice(0, 2)).toEqual([`gap ${i + 1}`, `altered ${i + 1}`]);
      expect(brief(verdictOn(ten.slice(0, i), newest))).toEqual([`shortened ${i + 1}`]);
    }
    expect(brief(verdictOn(ten.toSpliced(4, 0, ten[4] as Link)))).toEqual(['altered 5']);
  });

  test('that was made anew from some record on is a fork of what was signed', () => {
    const kept = ten.slice(0, 6);
    const rest = chained(
      Array.from({ length: 6 }, () => ({ ...ENTRY, message: 'as if' })),
      kept[5],
    );
    const heads = [3, 8].map((index) => headOf(ten[index] as Link));
    const verdict = verdictOn([...kept, ...rest], heads);
    expect(brief(verdict)).toEqual(['fork 9']);
    expect(verdict.findings[0]).toMatchObject({ node: NODE, message: expect.stringContaining('record 9') });
  });

  test('a head that the node has not signed is named and not used, one of another log as well', () => {
    const forged = { ...headOf(ten[9] as Link), sequence: 50 };
    expect(brief(verdictOn(ten, [forged]))).toEqual(['bad-signature 50']);
    expect(brief(verdictOn(ten, [headOf(ten[4] as Link, new Uint8Array(16))]))).toEqual(['replaced 5']);
  });

  test('whose beginning was dropped says so itself, or it is a gap', () => {
    const anchor = ten[3] as Link;
    const told = { ...ENTRY, action: 'marcherd/DropAudit', objects: [dropObject(anchor)] };
    const rest = [...ten.slice(4), ...chained([told], ten[9])];
    expect(verdictOn(rest, [headOf(anchor)], anchor)).toMatchObject({ findings: [], headsChecked: 1 });
    expect(brief(verdictOn(ten.slice(4), [], anchor))).toEqual(['gap 1']);
    expect(brief(verdictOn(rest))).toContain('gap 1');
  });

  test('of nothing but faults tells the first of them, and counts the others', () => {
    const links = Array.from({ length: 500 }, (_, i) => ({ sequence: i + 1, body: LOG, hash: LOG }));
    expect(verdictOn(links).findings).toHaveLength(FINDINGS_MAX);
    expect(verdictOn(links).moreFindings).toBe(400);
  });
});
