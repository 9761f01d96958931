// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { AgentCalls } from '../fleet/contract.js';
import { enrolSecondFactor, renewRecoveryCodes } from './index.js';

function agent() {
  const asked: unknown[] = [];
  const answering =
    <T>(call: string, answer: T) =>
    async (request: object): Promise<T> => {
      asked.push([call, request]);
      return answer;
    };
  const access = {
    enrolTotp: answering('enrolTotp', { secret: 'JBSWY3DP', uri: 'otpauth://totp/alice?secret=JBSWY3DP' }),
    confirmTotp: answering('confirmTotp', { recoveryCodes: ['aaaa', 'bbbb'] }),
    createRecoveryCodes: answering('createRecoveryCodes', { recoveryCodes: ['cccc'] }),
  };
  return { asked, calls: { access } as unknown as AgentCalls };
}

test('an authenticator is enrolled in two steps: its secret, then a code of it, for recovery codes', async () => {
  const { asked, calls } = agent();
  const begun = await enrolSecondFactor(calls, 'alice', 'PASSWORD').apply();
  expect(begun.secret?.text.split('\n')).toEqual(['JBSWY3DP', 'otpauth://totp/alice?secret=JBSWY3DP']);
  expect(begun.undo).toBeUndefined();
  const done = await begun.next?.make(' 123456 ').apply();
  expect(done).toMatchObject({ secret: { what: 'Recovery codes of alice', text: 'aaaa\nbbbb' } });
  expect(done?.next).toBeUndefined();
  expect(asked).toEqual([
    ['enrolTotp', { name: 'alice', password: 'PASSWORD' }],
    ['confirmTotp', { name: 'alice', code: '123456' }],
  ]);
});

test('nothing that is said beforehand, or shown as a command, has a secret in it', async () => {
  const { calls } = agent();
  const first = enrolSecondFactor(calls, 'alice', 'PASSWORD');
  const deeds = [
    first,
    (await first.apply()).next?.make('123456'),
    renewRecoveryCodes(calls, 'alice', 'PASSWORD'),
  ].flatMap((deed) => deed ?? []);
  expect(deeds).toHaveLength(3);
  for (const deed of deeds) expect(JSON.stringify([deed, deed.asCommand()])).not.toMatch(/PASSWORD|123456|JBSWY3DP/);
});
