// SPDX-License-Identifier: Apache-2.0
/**
 * A window of the console shows the console and nothing else, ever: what leads away from it is stopped, and a link of the web is
 * for the person's browser.
 */
import { isOwnAddress } from './origin.js';

interface Navigation {
  readonly url: string;
  preventDefault(): void;
}

/** Of Electron's WebContents. */
export interface Contents {
  on(
    event: 'will-navigate' | 'will-redirect' | 'will-frame-navigate',
    listener: (navigation: Navigation) => void,
  ): unknown;
  on(event: 'will-attach-webview', listener: (event: { preventDefault(): void }) => void): unknown;
  setWindowOpenHandler(handler: (details: { readonly url: string }) => { action: 'deny' }): void;
}

/** openLink: given addresses of https alone. */
export function keepWithin(contents: Contents, openLink: (url: string) => void): void {
  const stay = (navigation: Navigation): void => {
    if (!isOwnAddress(navigation.url)) navigation.preventDefault();
  };
  contents.on('will-navigate', stay);
  contents.on('will-redirect', stay);
  contents.on('will-frame-navigate', stay);
  contents.on('will-attach-webview', (event) => event.preventDefault());
  contents.setWindowOpenHandler(({ url }) => {
    if (isLink(url)) openLink(url);
    return { action: 'deny' };
  });
}

function isLink(address: string): boolean {
  const url = URL.parse(address);
  return url?.protocol === 'https:' && url.username === '' && url.password === '';
}
