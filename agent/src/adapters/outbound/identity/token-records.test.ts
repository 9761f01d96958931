// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TOKEN } from '../../../domain/identity/join-token.js';
import { writeRecord } from './record-file.js';
import { testDirectory } from './testing/directory.js';
import { createTokensInMemory, openTokenFile } from './token-records.js';
import { tokenRecord, tokenStoreCompliance } from './token-store-compliance.js';

const USE = { atMs: 5, nodeId: '00000000000000b2' };

tokenStoreCompliance('in memory', () => createTokensInMemory());
tokenStoreCompliance('file', () => openTokenFile(testDirectory()));

describe('tokens in a file', () => {
  it('are as they were after a restart, used ones too', () => {
    const directory = testDirectory();
    const store = openTokenFile(directory);
    store.add(tokenRecord(1));
    store.add(tokenRecord(2));
    store.use(tokenRecord(1).id, USE);
    const again = openTokenFile(directory);
    expect(again.list()).toEqual([{ ...tokenRecord(1), used: USE }, tokenRecord(2)]);
    expect(again.use(tokenRecord(1).id, USE)).toBe(false);
  });

  it('stay unused when the use could not be written', () => {
    const directory = testDirectory();
    const store = openTokenFile(directory);
    store.add(tokenRecord(1));
    mkdirSync(join(directory, 'tokens.new', 'x'), { recursive: true });
    expect(() => store.use(tokenRecord(1).id, USE)).toThrow(expect.objectContaining({ code: 'io' }));
    expect(store.find(tokenRecord(1).id)?.used).toBeUndefined();
  });

  it('are bounded', () => {
    const store = createTokensInMemory(Array.from({ length: TOKEN.countMax - 1 }, (_, at) => tokenRecord(at + 2)));
    store.add(tokenRecord(1));
    expect(() => store.add(tokenRecord(0))).toThrow(expect.objectContaining({ code: 'limit' }));
  });

  it('are not read from a file that is damaged or of another form', () => {
    const directory = testDirectory();
    openTokenFile(directory).add(tokenRecord(1));
    const path = join(directory, 'tokens');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"root"', '"boot"'));
    expect(() => openTokenFile(directory)).toThrow(expect.objectContaining({ code: 'damaged' }));
    for (const change of [
      { id: '../x' },
      { role: 'king' },
      { expiresMs: 1e300 },
      { used: {} },
      { secretHash: 'ab' },
      { clusters: ['E U'] },
    ]) {
      writeRecord(path, 'tokens', JSON.stringify([{ ...tokenRecord(1), ...change }]));
      expect(() => openTokenFile(directory)).toThrow(expect.objectContaining({ code: 'damaged' }));
    }
  });
});
