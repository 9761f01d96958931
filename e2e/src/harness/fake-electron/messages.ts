// SPDX-License-Identifier: Apache-2.0
/** Between this host's process and the test that has started it. */

export type FromHost =
  /** Where Chromium listens for the test's own debugger, before anything is loaded. */
  | { readonly kind: 'browser'; readonly debuggerUrl: string }
  /** A page is loaded in it. */
  | { readonly kind: 'window' }
  | { readonly kind: 'link'; readonly url: string }
  | { readonly kind: 'error-box'; readonly title: string; readonly text: string }
  /** What the app's handlers have said of each permission. */
  | { readonly kind: 'permissions'; readonly granted: readonly string[]; readonly denied: readonly string[] }
  | { readonly kind: 'refused-request'; readonly url: string }
  | { readonly kind: 'stopped-navigation'; readonly url: string };

export type ToHost =
  /** The test's debugger is there: pages may be loaded. */
  | { readonly kind: 'attached' }
  | { readonly kind: 'second-instance'; readonly argv: readonly string[] }
  | { readonly kind: 'quit' };

export function tell(message: FromHost): void {
  process.send?.(message);
}
