// SPDX-License-Identifier: Apache-2.0
/** Chromium knows no scheme "app" unless Electron has told it: the page has "https" in its place, and the app is never told of that. */
const APP = 'app://agent';
export const WEB = 'https://agent';

export function toWeb(address: string): string {
  return isBelow(address, APP) ? `${WEB}${address.slice(APP.length)}` : address;
}

export function toApp(address: string): string {
  return isBelow(address, WEB) ? `${APP}${address.slice(WEB.length)}` : address;
}

function isBelow(address: string, origin: string): boolean {
  return address === origin || (address.startsWith(origin) && '/?#'.includes(address.charAt(origin.length)));
}
