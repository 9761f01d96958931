// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { objectText, readObjects, serviceText, TEMPLATES } from './file-form.js';

describe('readObjects', () => {
  test('reads what is offered for a new object, and prints it as it was', () => {
    const [service] = readObjects(TEMPLATES.Service, 'Service', undefined).objects?.services ?? [];
    expect(service?.name).toBe('new-service');
    if (service !== undefined) expect(serviceText(service)).toBe(TEMPLATES.Service);
    const [policy] = readObjects(TEMPLATES.TrafficPolicy, 'TrafficPolicy', undefined).objects?.others ?? [];
    if (policy !== undefined) expect(objectText(policy)).toBe(TEMPLATES.TrafficPolicy);
    expect(policy).toBeDefined();
  });

  test('says where the text is wrong', () => {
    const { violations } = readObjects('apiVersion: marcher/v1\nservices:\n  - nam: web\n', 'Service', 'web');
    expect(violations?.[0]).toMatchObject({ path: 'services[0].name', line: 3 });
  });

  test('does not take a new name for a change: the old one would stay', () => {
    const { violations } = readObjects(TEMPLATES.Service, 'Service', 'web');
    expect(violations?.[0]).toMatchObject({ path: 'name' });
  });

  test('takes one object, of the kind that is edited', () => {
    expect(readObjects(TEMPLATES.TrafficPolicy, 'Service', undefined).violations).toHaveLength(1);
    expect(readObjects('apiVersion: marcher/v1\nservices: []\n', 'Service', undefined).violations).toHaveLength(1);
  });
});
