// SPDX-License-Identifier: Apache-2.0
/** The feed of the page that is looked at: opened and ended with it, and kept back while the picture is held. */
import type { FleetState, Reach } from '@marcher/client/fleet';
import type { Clock } from '../ports.js';
import type { Page } from '../store/ui-state.js';
import { VIEWS } from '../views/index.js';
import { type Feed, LOADING, NO_FEED } from './feed.js';
import { FEEDS } from './readers.js';

export interface FeedPorts {
  readonly reach: Reach;
  readonly clock: Clock;
  state(): FleetState;
  /** There is something else to show. */
  changed(): void;
}

interface Opened {
  readonly key: string;
  feed: Feed;
  end: () => void;
}

export class PageFeed {
  private readonly ports: FeedPorts;
  private opened: Opened | undefined;
  /** What came while the picture is held. */
  private held: Feed | undefined;

  constructor(ports: FeedPorts) {
    this.ports = ports;
  }

  get current(): Feed {
    return this.opened?.feed ?? NO_FEED;
  }

  /** pages: the way here. The feed is that of the list that is shown, or of the one behind a text. */
  follow(pages: readonly Page[]): void {
    const page = pages.findLast((each) => each.kind === 'list');
    const name = page === undefined ? undefined : VIEWS.get(page.view)?.feed;
    const read = name === undefined ? undefined : FEEDS[name];
    const key = page === undefined || read === undefined ? '' : JSON.stringify([name, page.scope]);
    if (this.opened?.key === key) return;
    this.close();
    if (page === undefined || read === undefined) return;
    const opened: Opened = { key, feed: LOADING, end: () => undefined };
    this.opened = opened;
    const { reach, clock, state, changed } = this.ports;
    opened.end = read({
      ...{ reach, clock, state, scope: page.scope },
      publish: (feed) => {
        if (this.opened !== opened) return;
        // A picture that is held has to be there first.
        if (state().paused && opened.feed !== LOADING) this.held = feed;
        else {
          opened.feed = feed;
          changed();
        }
      },
    });
  }

  /** Something was changed: what there is now is asked for at once. */
  renew(pages: readonly Page[]): void {
    const before = this.opened?.feed;
    this.close();
    this.follow(pages);
    if (this.opened !== undefined && before !== undefined) (this.opened as Opened).feed = before;
  }

  /** The picture goes on. */
  release(): void {
    if (this.opened !== undefined && this.held !== undefined) this.opened.feed = this.held;
    this.held = undefined;
  }

  close(): void {
    this.opened?.end();
    this.opened = undefined;
    this.held = undefined;
  }
}
