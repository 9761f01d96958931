// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Door } from './door.js';

const own = { host: '127.0.0.1:4100' };

describe('Door', () => {
  test('lets in requests of its own pages', () => {
    const door = new Door(4100);
    expect(door.stranger(own)).toBeUndefined();
    expect(door.stranger({ host: 'localhost:4100', origin: 'http://localhost:4100' })).toBeUndefined();
    expect(door.stranger({ ...own, 'sec-fetch-site': 'none' })).toBeUndefined();
  });

  test('refuses a name that was pointed at loopback', () => {
    expect(new Door(4100).stranger({ host: 'evil.example:4100' })).toMatchObject({ status: 421 });
    expect(new Door(4100).stranger({ host: '127.0.0.1:4101' })).toMatchObject({ status: 421 });
    expect(new Door(4100).stranger({})).toMatchObject({ status: 421 });
  });

  test('refuses pages of other origins, also of another port of this machine', () => {
    const door = new Door(4100);
    expect(door.stranger({ ...own, origin: 'https://evil.example' })).toMatchObject({ status: 403 });
    expect(door.stranger({ ...own, origin: 'http://127.0.0.1:4101' })).toMatchObject({ status: 403 });
    expect(door.stranger({ ...own, origin: 'http://localhost:4100' })).toMatchObject({ status: 403 });
    expect(door.stranger({ ...own, origin: 'null' })).toMatchObject({ status: 403 });
    expect(door.stranger({ ...own, 'sec-fetch-site': 'cross-site' })).toMatchObject({ status: 403 });
  });

  test('knows whoever had the token by a cookie that is not the token', () => {
    const door = new Door(4100);
    const set = door.admit(door.token) ?? '';
    expect(set).toContain('HttpOnly');
    expect(set).toContain('SameSite=Strict');
    expect(set).not.toContain(door.token);
    const cookie = set.split(';')[0] ?? '';
    expect(door.unknown({ cookie: `other=1; ${cookie}` })).toBeUndefined();
    expect(new Door(4100).unknown({ cookie })).toMatchObject({ status: 401 });
    expect(door.unknown({ cookie: `marcher-4100=${door.token}` })).toMatchObject({ status: 401 });
    expect(door.unknown({})).toMatchObject({ status: 401 });
    expect(door.admit(`${door.token} `)).toBeUndefined();
  });
});
