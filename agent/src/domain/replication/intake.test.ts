// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import { expect, test } from 'vitest';
import { type Context, SETTINGS } from './context.js';
import type { Frame, ReplicaEvent } from './contract.js';
import { encodeFrame } from './frame.js';
import { Intake } from './intake.js';
import { Ledger } from './ledger.js';
import { MemoryStore } from './memory-store.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');
const sign = (digest: Uint8Array): Uint8Array => digest.slice(0, 8);
const BAD = (): Uint8Array => new Uint8Array(8);
const NOW = 1_700_000_000_000;

/** chance: what is drawn for each signature that another vouches for. */
function lab(chance: number) {
  const events: ReplicaEvent[] = [];
  let looked = 0;
  const environment = {
    ...{ wallMs: () => NOW, monotonicMs: () => 0, random: () => chance, hash, sign },
    verify: (_node: bigint, digest: Uint8Array, signature: Uint8Array) => {
      looked++;
      return Buffer.compare(signature, sign(digest)) === 0;
    },
  };
  const ledger = new Ledger({ store: new MemoryStore(), node: 1n, hash, wallMs: () => NOW, aheadMaxMs: 5000 });
  const emit = (event: ReplicaEvent): void => void events.push(event);
  const context: Context = { cluster: '', ledger, environment, settings: SETTINGS, send: () => {}, emit };
  const intake = new Intake(context, () => {});
  const offer = (frames: readonly Frame[]): number[] => {
    const offers = intake.offerAll(
      frames.map(({ bytes }) => bytes),
      9n,
    );
    intake.drain(['0000000000000002.000000000001'], 0);
    return frames.flatMap(({ sequence }, i) => (offers[i]?.outcome === 'held' ? [sequence] : []));
  };
  const refusals = () => events.flatMap((event) => (event.type === 'refused' ? [event.reason] : []));
  return { offer, refusals, looked: () => looked, applied: () => ledger.sequence('0000000000000002.000000000001') };
}

/** So many frames of node 2; signed: how each is, sign() where that says nothing. */
function chain(
  count: number,
  signed: (sequence: number) => typeof sign | undefined = () => undefined,
  text = '',
): Frame[] {
  const frames: Frame[] = [];
  let previous: Uint8Array = new Uint8Array(0);
  for (let sequence = 1; sequence <= count; sequence++) {
    const writes = [{ kind: 'service', id: `s${sequence}`, group: '', value: new TextEncoder().encode(text) }];
    const frame = encodeFrame(
      {
        ...{ origin: { node: 2n, incarnation: 1 }, sequence, stamp: { ms: NOW + sequence, counter: 0, node: 2n } },
        ...{ previous, author: '', message: '', writes },
      },
      hash,
      signed(sequence) ?? sign,
    );
    if ('fault' in frame) throw new Error(frame.fault);
    frames.push(frame);
    previous = frame.hash;
  }
  return frames;
}

const to = (from: number, through: number): number[] => Array.from({ length: through - from + 1 }, (_, i) => from + i);

test('of an answer, the last signature vouches for the frames before it, down the chain of hashes', () => {
  const one = lab(0.5);
  expect([one.offer(chain(100)), one.applied(), one.looked()]).toEqual([to(1, 100), 100, 1]);
  const each = lab(0);
  expect([each.offer(chain(100)), each.applied(), each.looked()]).toEqual([to(1, 100), 100, 100]);
});

test('a signature that is no good vouches for nothing, and one after it does in its place', () => {
  const { offer, refusals, applied } = lab(0.5);
  expect(offer(chain(10, (sequence) => ([6, 9, 10].includes(sequence) ? BAD : undefined)))).toEqual(to(1, 8));
  expect(applied()).toBe(8);
  expect(refusals()).toEqual([9, 10].map((n) => expect.stringMatching(new RegExp(`${n}.*signature is not`))));
});

test('what is looked at by chance is refused where it is no good, whatever comes after it', () => {
  const { offer, applied } = lab(0);
  expect(offer(chain(10, (sequence) => (sequence === 4 ? BAD : undefined)))).toEqual([...to(1, 3), ...to(5, 10)]);
  expect(applied()).toBe(3);
});

test('frames that are not those of the chain are vouched for by nobody', () => {
  const forged = chain(10, () => BAD, 'forged');
  const real = chain(10);
  const { offer, applied } = lab(0.5);
  expect(offer([...forged.slice(0, 5), ...real.slice(5)])).toEqual(to(6, 10));
  expect(applied()).toBe(0);
  // A gap: its hash is not known.
  expect(lab(0.5).offer([...forged.slice(0, 4), ...real.slice(5)])).toEqual(to(6, 10));
  // In whichever order they come.
  expect(lab(0.5).offer([...real.slice(5), ...forged.slice(0, 5)])).toEqual(to(6, 10));
});
