// SPDX-License-Identifier: Apache-2.0
/** The token in the page's address becomes a cookie, and leaves the address: it is in no history and no screenshot. */
export async function beginSession(base: string): Promise<void> {
  const token = /^#token=([\w-]+)$/.exec(location.hash)?.[1];
  if (token === undefined) return;
  history.replaceState(null, '', `${location.pathname}#/`);
  const response = await fetch(`${base}/session`, { method: 'POST', body: token, credentials: 'same-origin' });
  if (!response.ok) throw new Error((await response.text()).trim());
}
