// SPDX-License-Identifier: Apache-2.0
/** What every TokenStore does. */
import { describe, expect, it } from 'vitest';
import { TOKEN, type TokenRecord } from '../../../domain/identity/join-token.js';
import type { TokenStore } from '../../../ports/identity.js';

export function tokenRecord(number: number): TokenRecord {
  const id = number.toString(16).padStart(2 * TOKEN.idBytes, '0');
  const secretHash = 'ab'.repeat(32);
  return { id, secretHash, role: 'member', createdMs: 1, expiresMs: 2, createdBy: 'root', used: undefined };
}

export function tokenStoreCompliance(name: string, open: () => TokenStore): void {
  describe(`token store: ${name}`, () => {
    const use = { atMs: 5, nodeId: '00000000000000b2' };

    it('finds what was added, and nothing else', () => {
      const store = open();
      store.add(tokenRecord(1));
      expect(store.find(tokenRecord(1).id)).toEqual(tokenRecord(1));
      expect(store.find(tokenRecord(2).id)).toBeUndefined();
      expect(store.list()).toEqual([tokenRecord(1)]);
    });

    it('lets a token be used once, by the first', () => {
      const store = open();
      store.add(tokenRecord(1));
      const { id } = tokenRecord(1);
      expect(store.use(id, use)).toBe(true);
      expect(store.use(id, { ...use, nodeId: '00000000000000c3' })).toBe(false);
      expect(store.find(id)?.used).toEqual(use);
      expect(store.use(tokenRecord(2).id, use)).toBe(false);
    });

    it('removes, and tells how many were there', () => {
      const store = open();
      for (const number of [1, 2, 3]) store.add(tokenRecord(number));
      expect(store.remove([tokenRecord(1).id, tokenRecord(3).id, tokenRecord(9).id])).toBe(2);
      expect(store.list()).toEqual([tokenRecord(2)]);
      expect(store.remove([tokenRecord(1).id])).toBe(0);
    });

    it('refuses an id that is there', () => {
      const store = open();
      store.add(tokenRecord(1));
      expect(() => store.add(tokenRecord(1))).toThrow(expect.objectContaining({ code: 'exists' }));
    });
  });
}
