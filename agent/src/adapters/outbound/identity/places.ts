// SPDX-License-Identifier: Apache-2.0
/**
 * How many connections of strangers may be at something at once, in all and from one source. Whoever is one too many takes
 * the place of the oldest: what honest ones do is over in moments, and who opens thousands and says nothing keeps nobody
 * out.
 */
export interface PlaceLimits {
  readonly most: number;
  readonly mostPerSource: number;
}

interface Place {
  readonly source: string;
  readonly evict: () => void;
}

export class Places {
  readonly #limits: PlaceLimits;
  /** Oldest first. */
  readonly #all = new Set<Place>();
  /** The same by source; one that has no place has no entry. */
  readonly #bySource = new Map<string, Set<Place>>();

  constructor(limits: PlaceLimits) {
    this.#limits = limits;
  }

  /** evict: ends it for another's sake. The result is called once it is over, and is harmless after that. */
  enter(source: string, evict: () => void): () => void {
    const { most, mostPerSource } = this.#limits;
    const mine = this.#bySource.get(source) ?? new Set();
    if (mine.size >= mostPerSource) this.#evictFirst(mine);
    else if (this.#all.size >= most) this.#evictFirst(this.#all);
    const place = { source, evict };
    mine.add(place);
    this.#bySource.set(source, mine);
    this.#all.add(place);
    return () => this.#leave(place);
  }

  #evictFirst(places: ReadonlySet<Place>): void {
    const [oldest] = places;
    if (oldest === undefined) return;
    this.#leave(oldest);
    oldest.evict();
  }

  #leave(place: Place): void {
    if (!this.#all.delete(place)) return;
    const mine = this.#bySource.get(place.source);
    mine?.delete(place);
    if (mine?.size === 0) this.#bySource.delete(place.source);
  }
}
