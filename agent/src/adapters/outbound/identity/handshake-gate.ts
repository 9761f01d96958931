// SPDX-License-Identifier: Apache-2.0
/**
 * How many connections may be in their handshake at once, in all and from one address: whoever opens thousands and says
 * nothing gets its share, and nodes of the mesh still come in.
 */
export interface HandshakeLimits {
  readonly handshakesMax: number;
  readonly handshakesPerSourceMax: number;
}

export class HandshakeGate {
  readonly #limits: HandshakeLimits;
  /** No more entries than handshakesMax: an address without a handshake has none. */
  readonly #bySource = new Map<string, number>();
  #count = 0;

  constructor(limits: HandshakeLimits) {
    this.#limits = limits;
  }

  /** What ends this handshake's part, to be called once it is done, and harmless after that; undefined: no more now. */
  enter(source: string): (() => void) | undefined {
    const { handshakesMax, handshakesPerSourceMax } = this.#limits;
    const mine = this.#bySource.get(source) ?? 0;
    if (this.#count >= handshakesMax || mine >= handshakesPerSourceMax) return undefined;
    this.#count += 1;
    this.#bySource.set(source, mine + 1);
    let inside = true;
    return () => {
      if (!inside) return;
      inside = false;
      this.#count -= 1;
      const left = (this.#bySource.get(source) ?? 1) - 1;
      if (left === 0) this.#bySource.delete(source);
      else this.#bySource.set(source, left);
    };
  }
}
