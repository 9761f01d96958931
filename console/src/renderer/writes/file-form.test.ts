// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { Edited } from './edited.js';
import { offeredText, readEdit } from './file-form.js';

const newService: Edited = { kind: 'Service', declared: undefined };
const newPolicy: Edited = { kind: 'TrafficPolicy', declared: undefined };
const newGuard: Edited = { kind: 'Guard', declared: undefined };

describe('readEdit', () => {
  test.each([newService, newPolicy, newGuard])(
    'reads what is offered for a new $kind, and prints it as it was',
    (base) => {
      const text = offeredText(base);
      const { edit } = readEdit(text, base);
      expect(edit).toMatchObject({ kind: base.kind, before: undefined });
      expect(offeredText({ kind: base.kind, declared: edit?.after } as Edited)).toBe(text);
    },
  );

  test('says where the text is wrong', () => {
    const { violations } = readEdit('apiVersion: marcher/v1\nservices:\n  - nam: web\n', newService);
    expect(violations?.[0]).toMatchObject({ path: 'services[0].name', line: 3 });
  });

  test('does not take a new name for a change: the old one would stay', () => {
    const text = offeredText(newService);
    const declared = readEdit(text, newService).edit?.after;
    const { violations } = readEdit(text.replace('new-service', 'renamed'), { kind: 'Service', declared } as Edited);
    expect(violations?.[0]).toMatchObject({ path: 'name' });
  });

  test('takes one object, of the kind that is edited', () => {
    expect(readEdit(offeredText(newPolicy), newService).violations).toHaveLength(1);
    expect(readEdit('apiVersion: marcher/v1\nservices: []\n', newService).violations).toHaveLength(1);
  });
});
