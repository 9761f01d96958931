// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ProbeOutcome, ProbeSchema } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { expect, test } from 'vitest';
import { proofOf } from './proof.js';

const OUTCOMES = { '+': ProbeOutcome.PASSED, '-': ProbeOutcome.FAILED, '?': ProbeOutcome.NOT_RUN } as const;

/** "+load -ipip/native": what became of what, in which mode. */
function probe(text: string) {
  const results = text.split(' ').map((one) => {
    const [what = '', mode = ''] = one.slice(1).split('/');
    const outcome = OUTCOMES[one[0] as keyof typeof OUTCOMES];
    const why = outcome === ProbeOutcome.PASSED ? '' : `${what} ${mode} why`.replace('  ', ' ');
    return { what, mode, outcome, reason: why, remedy: why === '' ? '' : 'do this' };
  });
  return create(ProbeSchema, { results });
}

test.each([
  [
    'everything passes',
    '+load +attach/native +ipip/native +attach/generic +ipip/generic',
    false,
    'real packets passed by ipip (native and generic)',
  ],
  ['the kernel refuses', '-load', true, 'load why; do this'],
  ['nothing could be tried', '+load ?ipip ?decap', false, 'ipip why; do this'],
  [
    'one kind comes out in no mode',
    '+load +attach/native +ipip/native -gue/native +ipip/generic -gue/generic',
    true,
    'gue: gue native why; do this',
  ],
  [
    'one mode does not do',
    '+load -attach/native +attach/generic +ipip/generic',
    false,
    'real packets passed by ipip (generic); attach native: attach native why; do this',
  ],
  [
    'no mode does',
    '+load -attach/native -attach/generic',
    true,
    'attach native why; do this; attach generic why; do this',
  ],
])('%s', (_, results, failed, text) => {
  expect(proofOf(probe(results))).toEqual({ failed, text });
});

test('without XDP it is enough that the programs are taken', () => {
  expect(proofOf(probe('+load -attach/native -attach/generic'), false)).toEqual({ failed: false, text: '' });
  expect(proofOf(probe('-load'), false)).toEqual({ failed: true, text: 'load why; do this' });
});
