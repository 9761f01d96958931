// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { denyPermissions, type RendererSession } from './permissions.js';

type Handler<Name extends keyof RendererSession> = RendererSession[Name] extends (handler: infer H) => void ? H : never;

function session() {
  const set: Record<string, unknown> = {};
  const keep = (name: string) => (handler: unknown) => {
    set[name] = handler;
  };
  denyPermissions({
    setPermissionRequestHandler: keep('request'),
    setPermissionCheckHandler: keep('check'),
    setDevicePermissionHandler: keep('device'),
    setCertificateVerifyProc: keep('certificate'),
    webRequest: { onBeforeRequest: keep('before') },
  });
  return {
    requests(permission: string, requestingUrl?: string): boolean {
      let granted = false;
      const details = requestingUrl === undefined ? {} : { requestingUrl };
      const handler = set['request'] as Handler<'setPermissionRequestHandler'>;
      handler(undefined, permission, (answer) => (granted = answer), details);
      return granted;
    },
    checks: (permission: string, origin: string) =>
      (set['check'] as Handler<'setPermissionCheckHandler'>)(undefined, permission, origin),
    hasDevice: () => (set['device'] as Handler<'setDevicePermissionHandler'>)(),
    trusts(): number {
      let verdict = 0;
      (set['certificate'] as Handler<'setCertificateVerifyProc'>)({}, (answer) => (verdict = answer));
      return verdict;
    },
    reaches(url: string): boolean {
      let cancelled = false;
      const listener = set['before'] as Parameters<RendererSession['webRequest']['onBeforeRequest']>[0];
      listener({ url }, ({ cancel }) => (cancelled = cancel));
      return !cancelled;
    },
  };
}

test.each([
  'media',
  'geolocation',
  'notifications',
  'openExternal',
  'clipboard-read',
  'hid',
  'usb',
  'serial',
  'fileSystem',
  'unknown',
])('%s is denied, also to the console', (permission) => {
  expect(session().requests(permission, 'app://agent/')).toBe(false);
  expect(session().checks(permission, 'app://agent')).toBe(false);
});

test('the console may put text into the clipboard, and nobody else', () => {
  const { requests, checks } = session();
  expect(requests('clipboard-sanitized-write', 'app://agent/')).toBe(true);
  expect(checks('clipboard-sanitized-write', 'app://agent/')).toBe(true);
  expect(requests('clipboard-sanitized-write', 'https://example.com/')).toBe(false);
  expect(requests('clipboard-sanitized-write')).toBe(false);
  expect(checks('clipboard-sanitized-write', 'https://example.com')).toBe(false);
});

test('devices are denied, and no certificate is trusted: the renderer speaks TLS with nobody', () => {
  expect(session().hasDevice()).toBe(false);
  expect(session().trusts()).toBeLessThan(0);
});

test('no request leaves the scheme', () => {
  const { reaches } = session();
  expect(reaches('app://agent/entry/marcher.v1.NodeService/Status')).toBe(true);
  for (const url of [
    'https://example.com/',
    'http://127.0.0.1:7000/',
    'ws://127.0.0.1/',
    'file:///etc/passwd',
    'app://x/',
  ]) {
    expect(reaches(url)).toBe(false);
  }
});
