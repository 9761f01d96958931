// SPDX-License-Identifier: Apache-2.0
/**
 * How many connections may be in their handshake at once, in all and from one address. Whoever is one too many takes the
 * place of the oldest: an honest handshake is over in moments, and who opens thousands and says nothing keeps nobody out.
 */
export interface HandshakeLimits {
  readonly handshakesMax: number;
  readonly handshakesPerSourceMax: number;
}

interface Handshake {
  readonly source: string;
  readonly evict: () => void;
}

export class HandshakeGate {
  readonly #limits: HandshakeLimits;
  /** Oldest first. */
  readonly #all = new Set<Handshake>();
  /** The same by source; one without handshakes has no entry. */
  readonly #bySource = new Map<string, Set<Handshake>>();

  constructor(limits: HandshakeLimits) {
    this.#limits = limits;
  }

  /** evict: ends it for another's sake. The result is called once it is over, and is harmless after that. */
  enter(source: string, evict: () => void): () => void {
    const { handshakesMax, handshakesPerSourceMax } = this.#limits;
    const mine = this.#bySource.get(source) ?? new Set();
    if (mine.size >= handshakesPerSourceMax) this.#evictFirst(mine);
    else if (this.#all.size >= handshakesMax) this.#evictFirst(this.#all);
    const handshake = { source, evict };
    mine.add(handshake);
    this.#bySource.set(source, mine);
    this.#all.add(handshake);
    return () => this.#leave(handshake);
  }

  #evictFirst(handshakes: ReadonlySet<Handshake>): void {
    const [oldest] = handshakes;
    if (oldest === undefined) return;
    this.#leave(oldest);
    oldest.evict();
  }

  #leave(handshake: Handshake): void {
    if (!this.#all.delete(handshake)) return;
    const mine = this.#bySource.get(handshake.source);
    mine?.delete(handshake);
    if (mine?.size === 0) this.#bySource.delete(handshake.source);
  }
}
