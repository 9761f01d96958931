// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ProbeOutcome, ProbeSchema } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { expect, test } from 'vitest';
import { EVERYTHING } from '../../../domain/packet-proof.js';
import { both, proofOf } from './proof.js';

const OUTCOMES = { '+': ProbeOutcome.PASSED, '-': ProbeOutcome.FAILED, '?': ProbeOutcome.NOT_RUN } as const;

/** "+load -ipip/native/ipv6": what became of what, in which mode, over which family. */
function probe(text: string) {
  const results = text.split(' ').map((one) => {
    const [what = '', mode = '', family = ''] = one.slice(1).split('/');
    const outcome = OUTCOMES[one[0] as keyof typeof OUTCOMES];
    const why = outcome === ProbeOutcome.PASSED ? '' : `${what} why`;
    return { what, mode, family, outcome, reason: why, remedy: why === '' ? '' : 'do this' };
  });
  return create(ProbeSchema, { results });
}

const lostOf = (text: string, xdp = true) => {
  const proof = proofOf(probe(text), xdp);
  return { failure: proof.failure, xdp: [...proof.xdp.lost.keys()], tc: [...proof.tc.lost.keys()] };
};

const XDP = '+attach/native +ipip/native/ipv4 +ipip/native/ipv6 +attach/generic +ipip/generic/ipv4 +ipip/generic/ipv6';
const TC = '+attach/tcx +nat/tcx/ipv4 +nat/tcx/ipv6';

test('what passed is named with its families and modes, for each tier', () => {
  const { failure, xdp, tc } = proofOf(probe(`+load ${XDP} +guard/generic/ipv4 ${TC}`));
  expect(failure).toBe('');
  expect(xdp.text).toBe('real packets passed by ipip over IPv4 and IPv6; guard over IPv4 (native and generic)');
  expect(tc.text).toBe('real packets passed by nat over IPv4 and IPv6 (tcx)');
});

test.each([
  ['everything passes', `+load ${XDP} ${TC}`, { failure: '', xdp: [], tc: [] }],
  ['the kernel refuses', '-load', { failure: 'load why; do this', xdp: [], tc: [] }],
  ['nothing could be tried', '+load ?ipip//ipv4 ?nat//ipv4', { failure: '', xdp: [], tc: [] }],
  [
    'one family comes out in no mode',
    `+load +attach/native +ipip/native/ipv4 -ipip/native/ipv6 +attach/generic +ipip/generic/ipv4 -ipip/generic/ipv6 ${TC}`,
    { failure: '', xdp: ['ipip over IPv6'], tc: [] },
  ],
  [
    'one mode does not do',
    `+load +attach/native -ipip/native/ipv4 +attach/generic +ipip/generic/ipv4 ${TC}`,
    { failure: '', xdp: [], tc: [] },
  ],
  ['XDP attaches in no mode', `+load -attach/native -attach/generic ${TC}`, { failure: '', xdp: [EVERYTHING], tc: [] }],
  ['tc does not attach', `+load ${XDP} -attach/clsact`, { failure: '', xdp: [], tc: [EVERYTHING] }],
  [
    'NAT fails over one family',
    `+load ${XDP} +attach/tcx +nat/tcx/ipv4 -nat/tcx/ipv6`,
    { failure: '', xdp: [], tc: ['nat over IPv6'] },
  ],
])('%s: what is lost', (_, results, expected) => {
  expect(lostOf(results)).toEqual(expected);
});

test('nothing is offered when neither attaches, and without XDP when tc does not', () => {
  expect(lostOf('+load -attach/native -attach/generic -attach/clsact').failure).toBe(
    'attach native: attach why; do this; attach generic: attach why; do this; attach clsact: attach why; do this',
  );
  expect(lostOf('+load -attach/native -attach/generic +attach/tcx +nat/tcx/ipv4', false).failure).toBe('');
  expect(lostOf(`+load ${XDP} -attach/clsact`, false).failure).toBe('attach clsact: attach why; do this');
});

test('one loss is a chance, two are none', () => {
  const first = proofOf(probe(`+load ${XDP} +attach/tcx -nat/tcx/ipv4 -nat/tcx/ipv6`));
  const second = proofOf(probe(`+load ${XDP} +attach/tcx -nat/tcx/ipv4 +nat/tcx/ipv6`));
  expect([...both(first, second).tc.lost.keys()]).toEqual(['nat over IPv4']);
  expect([...both(second, proofOf(probe(`+load ${XDP} ${TC}`))).tc.lost.keys()]).toEqual([]);
});
