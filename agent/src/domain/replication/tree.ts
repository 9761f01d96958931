// SPDX-License-Identifier: Apache-2.0
/**
 * The broadcast trees (Leitão, Pereira, Rodrigues 2007, "Epidemic Broadcast Trees", figures 1 to 3), one for each origin:
 * new frames are pushed to eager peers, lazy ones are only told of them. Who gets a frame twice tells whoever is not its
 * parent in that tree to push no more of that origin; who hears of a frame and does not get it in time grafts a link. In
 * one tree for all origins, of frames that cross each other two would cut the same circle in two places. Since an
 * origin's frames are numbered without gaps, an announcement is one number.
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
/** That have trees of their own; frames of others are pushed to all. */
const ORIGINS_MAX = 4096;
const ANNOUNCERS_MAX = 8;

export class Tree {
  readonly #times: TreeTimes;
  #links: ReadonlySet<NodeId> = new Set();
  /** By origin: links whose other end has asked to be pushed none of it. */
  readonly #lazy = new Map<OriginKey, Set<NodeId>>();
  /** By origin: by which link its frames come. */
  readonly #parents = new Map<OriginKey, NodeId>();
  readonly #missing = new Map<OriginKey, Missing>();
  #news = new Map<OriginKey, News>();

  constructor(times: TreeTimes) {
    this.#times = times;
  }

  /** Links that stay keep what they are; new ones begin eager. Origins that are not known any more have no tree. */
  setLinks(nodes: Iterable<NodeId>, isKnown: (origin: OriginKey) => boolean): void {
    this.#links = new Set(nodes);
    for (const [origin, parent] of this.#parents) {
      if (!this.#links.has(parent) || !isKnown(origin)) this.#parents.delete(origin);
    }
    for (const [origin, lazy] of this.#lazy) {
      for (const node of lazy) if (!this.#links.has(node)) lazy.delete(node);
      if (lazy.size === 0 || !isKnown(origin)) this.#lazy.delete(origin);
    }
  }

  links(): Iterable<NodeId> {
    return this.#links;
  }

  /** Whom the origin's frames are pushed to. */
  *eager(origin: OriginKey): Iterable<NodeId> {
    const lazy = this.#lazy.get(origin);
    for (const node of this.#links) if (lazy?.has(node) !== true) yield node;
  }

  /** What a link's other end asks. Nodes that are not linked stay so. */
  setEager(node: NodeId, origin: OriginKey, eager: boolean): void {
    const lazy = this.#lazy.get(origin);
    if (eager) lazy?.delete(node);
    else if (!this.#links.has(node)) return;
    else if (lazy !== undefined) lazy.add(node);
    else if (this.#lazy.size < ORIGINS_MAX) this.#lazy.set(origin, new Set([node]));
    if (lazy?.size === 0) this.#lazy.delete(origin);
  }

  /** From now on frames of that origin come from there. */
  setParent(node: NodeId, origin: OriginKey): void {
    const hasRoom = this.#parents.has(origin) || this.#parents.size < ORIGINS_MAX;
    if (hasRoom && this.#links.has(node)) this.#parents.set(origin, node);
  }

  /**
   * A frame was pushed by that node. True: it is to push no more of that origin. The parent stays whoever was first at the
   * beginning, until a link is grafted: what comes first by another may be the last that was sent before a prune.
   */
  pushed(node: NodeId, origin: OriginKey, twice: boolean): boolean {
    if (!this.#parents.has(origin)) this.setParent(node, origin);
    return twice && this.#parents.get(origin) !== node;
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
    for (const node of this.#links) {
      const heads: Announcement[] = [];
      for (const [origin, { sequence, toAll, known }] of all) {
        const lazy = this.#lazy.get(origin)?.has(node) === true;
        if ((toAll || lazy) && !known.has(node)) heads.push({ origin, sequence });
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
