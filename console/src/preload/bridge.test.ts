// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { Bridge } from '../ipc/contract.js';
import { METHODS } from '../ipc/names.js';
import { exposeBridge } from './bridge.js';

function exposed(invoke: (channel: string, ...parameters: unknown[]) => Promise<unknown>) {
  const worlds = new Map<string, Bridge>();
  exposeBridge({ exposeInMainWorld: (name, api) => worlds.set(name, api as Bridge) }, { invoke });
  expect([...worlds.keys()]).toEqual(['marcher']);
  return worlds.get('marcher') as Bridge;
}

test('the renderer has a function for each method, and nothing that takes a channel', async () => {
  const sent: unknown[][] = [];
  const bridge = exposed(async (...call) => {
    sent.push(call);
    return { value: 'open' };
  });
  expect(Object.keys(bridge).sort()).toEqual([...METHODS].sort());
  expect(METHODS).toContain('openVault');
  expect(await bridge.openVault('correct horse')).toBe('open');
  expect(sent).toEqual([['marcher:openVault', 'correct horse']]);
});

test('a failure is an error with the sentence of the main process', async () => {
  const bridge = exposed(async () => ({ failure: 'the passphrase is wrong' }));
  await expect(bridge.openVault('correct horse')).rejects.toThrow(/^the passphrase is wrong$/);
});
