// SPDX-License-Identifier: Apache-2.0
/** What is asked for while it is looked at: it is in no stream of the mesh's state. */
export interface Feed {
  readonly status: 'loading' | 'ready' | 'failed';
  readonly items: readonly object[];
  /** Who could not be asked, or was not, and why; each is a line. */
  readonly problems: readonly string[];
  /** How many there are altogether, where that is more than the items. */
  readonly total: number | undefined;
}

export const NO_FEED: Feed = { status: 'ready', items: [], problems: [], total: undefined };
export const LOADING: Feed = { status: 'loading', items: [], problems: [], total: undefined };
