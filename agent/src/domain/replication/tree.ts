// SPDX-License-Identifier: Apache-2.0
/**
 * The broadcast tree (Leitão, Pereira, Rodrigues 2007, "Epidemic Broadcast Trees", figures 1 to 3): new frames are
 * pushed to eager peers, lazy ones are only told of them. Whoever gets a frame twice prunes the link; whoever hears of
 * a frame and does not get it in time grafts one. Since an origin's frames are numbered without gaps, an announcement
 * is one number.
 */
import type { NodeId, OriginKey } from './contract.js';

export interface TreeTimes {
  /** From an announcement to the first graft: a push is most often on its way. */
  readonly graftAfterMs: number;
  /** To the next announcer. */
  readonly graftAgainMs: number;
}

interface Missing {
  through: number;
  readonly announcers: NodeId[];
  /** Those who have all of it. */
  readonly heard: Set<NodeId>;
  dueMs: number;
}

/** To be announced to lazy peers; toAll: to eager ones too, who were not pushed it. */
interface News {
  readonly sequence: number;
  readonly toAll: boolean;
  /** They have it already. */
  readonly known: Set<NodeId>;
}

export interface Announcement {
  readonly origin: OriginKey;
  readonly sequence: number;
}

export interface Graft {
  readonly node: NodeId;
  readonly origin: OriginKey;
  readonly through: number;
}

/** Origins that are awaited at once; what is more, anti-entropy finds. */
const MISSING_MAX = 4096;
const ANNOUNCERS_MAX = 8;

export class Tree {
  readonly #times: TreeTimes;
  /** Linked nodes; true: eager. */
  readonly #links = new Map<NodeId, boolean>();
  readonly #missing = new Map<OriginKey, Missing>();
  #news = new Map<OriginKey, News>();

  constructor(times: TreeTimes) {
    this.#times = times;
  }

  /** Links that stay keep what they are; new ones begin eager. */
  setLinks(nodes: Iterable<NodeId>): void {
    const now = new Set(nodes);
    for (const node of this.#links.keys()) if (!now.has(node)) this.#links.delete(node);
    for (const node of now) if (!this.#links.has(node)) this.#links.set(node, true);
  }

  links(): Iterable<NodeId> {
    return this.#links.keys();
  }

  *eager(): Iterable<NodeId> {
    for (const [node, eager] of this.#links) if (eager) yield node;
  }

  /** Nodes that are not linked stay so. */
  setEager(node: NodeId, eager: boolean): void {
    if (this.#links.has(node)) this.#links.set(node, eager);
  }

  /** A frame that has just been applied; pushed: to the eager peers. giver: it came from there. */
  announce(origin: OriginKey, sequence: number, pushed: boolean, giver?: NodeId): void {
    const before = this.#news.get(origin);
    const missing = this.#missing.get(origin);
    const isAllHere = missing !== undefined && missing.through <= sequence;
    const known = missing !== undefined && missing.through >= sequence ? missing.heard : [];
    const news = { sequence, toAll: !pushed || before?.toAll === true, known: new Set(known) };
    if (giver !== undefined) news.known.add(giver);
    this.#news.set(origin, news);
    if (isAllHere) this.#missing.delete(origin);
  }

  /** That node has the origin's frames up to there, and so do we: it need not be told. */
  has(node: NodeId, origin: OriginKey, sequence: number): void {
    const news = this.#news.get(origin);
    if (news !== undefined && news.sequence <= sequence) news.known.add(node);
  }

  /** What to announce since the last call, and to whom. */
  news(): { readonly node: NodeId; readonly heads: readonly Announcement[] }[] {
    const all = [...this.#news];
    this.#news = new Map();
    const told = [];
    for (const [node, eager] of this.#links) {
      const heads: Announcement[] = [];
      for (const [origin, { sequence, toAll, known }] of all) {
        if ((toAll || !eager) && !known.has(node)) heads.push({ origin, sequence });
      }
      if (heads.length > 0) told.push({ node, heads });
    }
    return told;
  }

  /** That node has the origin's frames up to there, and we do not. */
  miss(origin: OriginKey, through: number, node: NodeId, nowMs: number): void {
    let missing = this.#missing.get(origin);
    if (missing === undefined) {
      if (this.#missing.size >= MISSING_MAX) return;
      missing = { through, announcers: [], heard: new Set(), dueMs: nowMs + this.#times.graftAfterMs };
      this.#missing.set(origin, missing);
    }
    if (through > missing.through) missing.heard.clear();
    missing.through = Math.max(missing.through, through);
    if (through === missing.through) missing.heard.add(node);
    if (missing.announcers.length < ANNOUNCERS_MAX && !missing.announcers.includes(node)) missing.announcers.push(node);
  }

  /** Links to graft now. An origin without announcers left is given up: anti-entropy finds it. */
  due(nowMs: number): Graft[] {
    const grafts: Graft[] = [];
    for (const [origin, missing] of this.#missing) {
      if (missing.dueMs > nowMs) continue;
      const node = missing.announcers.shift();
      if (node === undefined) {
        this.#missing.delete(origin);
        continue;
      }
      missing.dueMs = nowMs + this.#times.graftAgainMs;
      grafts.push({ node, origin, through: missing.through });
    }
    return grafts;
  }

  /** undefined: nothing is awaited. */
  nextDueMs(): number | undefined {
    let next: number | undefined;
    for (const { dueMs } of this.#missing.values()) if (next === undefined || dueMs < next) next = dueMs;
    return next;
  }
}
