// SPDX-License-Identifier: Apache-2.0
/**
 * Who may use the gateway: the browser that was given the token of its address, from pages of the gateway itself. Everything on the
 * machine can reach a port of loopback, and every page of the web can have a browser call it:
 *
 * - Host has to be the gateway's own, else a name that somebody points at 127.0.0.1 would be the same origin (DNS rebinding).
 * - Origin, and what a browser says of itself (Sec-Fetch-Site), have to be the gateway's own, too.
 * - The token comes in the fragment of the address, which is sent nowhere, and is exchanged for a cookie that scripts do not see.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export interface Refusal {
  readonly status: 401 | 403 | 421;
  readonly reason: string;
}

export class Door {
  readonly token = randomBytes(32).toString('base64url');
  readonly #session = randomBytes(32).toString('base64url');
  readonly #port: number;
  readonly #hosts: readonly string[];

  constructor(port: number) {
    this.#port = port;
    this.#hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
  }

  /** For whoever starts the gateway: where its console is. SECRET, for whoever has it may what the gateway may. */
  get address(): string {
    return `http://${this.#hosts[0]}/#token=${this.token}`;
  }

  /** Of any request. undefined: it may come in. */
  stranger({ host, origin, 'sec-fetch-site': site }: IncomingHttpHeaders): Refusal | undefined {
    if (host === undefined || !this.#hosts.includes(host)) {
      return { status: 421, reason: `this is ${this.#hosts.join(' or ')}, and no other host` };
    }
    if (origin !== undefined && origin !== `http://${host}`) {
      return { status: 403, reason: 'the page that asks is not of this gateway' };
    }
    // "none": somebody has typed the address.
    if (site !== undefined && site !== 'same-origin' && site !== 'none') {
      return { status: 403, reason: 'the page that asks is not of this gateway' };
    }
    return undefined;
  }

  /** Of what goes to agents. */
  unknown({ cookie }: IncomingHttpHeaders): Refusal | undefined {
    const named = `${this.#cookieName}=`;
    const shown = (cookie ?? '').split(/; */).find((each) => each.startsWith(named));
    if (shown !== undefined && isSame(shown.slice(named.length), this.#session)) return undefined;
    return { status: 401, reason: 'open the address that the gateway has printed: its token is what lets you in' };
  }

  /** The cookie for a token. undefined: it is not the one. */
  admit(token: string): string | undefined {
    if (!isSame(token, this.token)) return undefined;
    return `${this.#cookieName}=${this.#session}; Path=/; HttpOnly; SameSite=Strict`;
  }

  /** Cookies know no ports: gateways on one machine have one each. */
  get #cookieName(): string {
    return `marcher-${this.#port}`;
  }
}

/** In the same time wherever they differ. */
function isSame(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
