// SPDX-License-Identifier: Apache-2.0
/**
 * The one origin of the desktop console: its page is app://agent/, and app://agent/NODE/SERVICE/METHOD are calls. Being of one
 * origin they need no CORS, and whatever is not of it is a stranger.
 */
export const SCHEME = 'app';
export const ORIGIN = `${SCHEME}://agent`;

/** Also of addresses that are none. */
export function isOwnAddress(address: string): boolean {
  // URL.origin is "null" for schemes that the web does not know.
  const url = URL.parse(address);
  return (
    url !== null && url.protocol === `${SCHEME}:` && url.host === 'agent' && url.username === '' && url.password === ''
  );
}
