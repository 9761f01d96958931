// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { type Contents, keepWithin } from './navigation.js';

type Listener = (event: { url: string; preventDefault(): void }) => void;

function window() {
  const listeners = new Map<string, Listener>();
  const opened: string[] = [];
  let open: Parameters<Contents['setWindowOpenHandler']>[0] | undefined;
  const contents = {
    on: (event: string, listener: Listener) => listeners.set(event, listener),
    setWindowOpenHandler: (handler: typeof open) => {
      open = handler;
    },
  } as unknown as Contents;
  keepWithin(contents, (url) => opened.push(url));
  return {
    opened,
    goes(event: string, url: string): boolean {
      let prevented = false;
      listeners.get(event)?.({ url, preventDefault: () => (prevented = true) });
      return listeners.has(event) && !prevented;
    },
    opens: (url: string) => open?.({ url }),
  };
}

const events = ['will-navigate', 'will-redirect', 'will-frame-navigate'];

test.each(events)('%s: within the console alone', (event) => {
  const { goes } = window();
  expect(goes(event, 'app://agent/#/nodes')).toBe(true);
  for (const url of ['https://example.com/', 'app://other/', 'file:///etc/passwd', 'data:text/html,x', 'nonsense']) {
    expect(goes(event, url)).toBe(false);
  }
});

test('nothing is embedded', () => {
  expect(window().goes('will-attach-webview', 'app://agent/')).toBe(false);
});

test('no window is opened; links of the web go to the browser', () => {
  const { opens, opened } = window();
  for (const url of [
    'https://example.com/a',
    'http://example.com/',
    'file:///bin/sh',
    'https://a:b@example.com/',
    'x',
  ]) {
    expect(opens(url)).toEqual({ action: 'deny' });
  }
  expect(opened).toEqual(['https://example.com/a']);
});
