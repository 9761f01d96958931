// SPDX-License-Identifier: Apache-2.0
/**
 * Who is at the other end of one TLS connection from elsewhere, call by call. A bearer token decides where there is one;
 * else the client certificate does, which is judged at each call, since it may have been revoked since the handshake.
 *
 * Failures of tokens are counted per source: after some in a row, further ones are not even looked at for a while. Tokens
 * of one connection are looked at one after the other, so that many at once are not more attempts.
 */
import { Code, ConnectError } from '@connectrpc/connect';
import type { AttemptLimit } from '../../../domain/identity/attempt-limit.js';
import type { OperatorRefusal, OperatorVerdict } from '../../../domain/identity/operator.js';
import type { PresentedCertificate } from '../../../domain/identity/peer.js';
import { sourceOf } from '../../../domain/identity/source.js';
import type { Authenticator, NotAuthenticated, Principal } from '../../../ports/access.js';
import type { Shown } from '../../outbound/identity/operator-tls.js';
import type { AllowedPeer, RefusedPeer } from './peer.js';

export type CallerRefusal =
  | OperatorRefusal
  | 'token'
  | 'slowed' // too many tokens were wrong
  | 'user'; // of a certificate: none, or not (any more) let in

export interface CallerOptions {
  /** Its IP address, an IPv4 one also where it came to a socket for both. */
  readonly source: string;
  readonly shown: Shown;
  readonly judge: (presented: PresentedCertificate) => OperatorVerdict;
  readonly authenticator: Authenticator;
  /** Of failures, for all connections. */
  readonly failures: AttemptLimit;
  readonly nowMs: () => number;
  /** Why a call was refused, for the log. */
  readonly refused: (refusal: CallerRefusal, reason: string) => void;
  /** The authenticator has failed, which is nobody's fault but this node's. */
  readonly failed: (error: unknown) => void;
}

/** Longer ones are no tokens: neither a session's nor an API key's. RFC 6750, 2.1. */
const BEARER = /^Bearer +([A-Za-z0-9._~+/-]{1,4096}=*)$/i;
/** Calls of one connection that nobody has answered for: what they send is bounded, and how many there are. */
const UNKNOWN_CALLS_MAX = 8;
export const UNKNOWN_CALL_BYTES = 16 * 1024;

interface HeldStream {
  readonly authorization: string | undefined;
  readonly end: AbortController;
}

export class RemoteCaller {
  readonly #options: CallerOptions;
  #turn: Promise<unknown> = Promise.resolve();
  readonly #held = new Set<HeldStream>();
  #known = false;
  #unknownCalls = 0;
  /** Once, when somebody has proved to be who may call. */
  onAuthenticated: () => void = () => undefined;

  constructor(options: CallerOptions) {
    this.#options = options;
  }

  /** Whether one of its calls was an operator's. */
  get known(): boolean {
    return this.#known;
  }

  /** As whom messages name it that are of no call. */
  get author(): string {
    return `tls:${this.#options.source}`;
  }

  get #from() {
    return { via: 'tls', source: this.#options.source } as const;
  }

  /** authorization: the header. Without any credentials a call is let in as nobody's: see isKnown(). */
  async identify(authorization: string | undefined): Promise<AllowedPeer | RefusedPeer> {
    const peer = authorization === undefined ? this.#byCertificate() : await this.#inTurn(authorization);
    if (isKnown(peer) && !this.#known) {
      this.#known = true;
      this.onAuthenticated();
    }
    return peer;
  }

  /** Whether one more call that is nobody's may be read; ended: when it is over. */
  admitsUnknown(ended: (over: () => void) => void): boolean {
    if (this.#unknownCalls >= UNKNOWN_CALLS_MAX) return false;
    this.#unknownCalls++;
    ended(() => this.#unknownCalls--);
    return true;
  }

  /** Why its certificate is not taken (any more); undefined: it is, or there is none. */
  fault(): { readonly refusal: OperatorRefusal; readonly reason: string } | undefined {
    const verdict = this.#verdict();
    return verdict?.kind === 'refused' ? verdict : undefined;
  }

  /**
   * For a call that stays open: aborts with the call, and with UNAUTHENTICATED when review() finds that whoever made it
   * would not be let in any more.
   */
  hold(authorization: string | undefined, call: AbortSignal): AbortSignal {
    const stream: HeldStream = { authorization, end: new AbortController() };
    this.#held.add(stream);
    call.addEventListener('abort', () => this.#held.delete(stream), { once: true });
    return AbortSignal.any([call, stream.end.signal]);
  }

  /** A console has a stream for each node, all of them by one token: that is looked at once. */
  async review(): Promise<void> {
    const byAuthorization = Map.groupBy(this.#held, ({ authorization }) => authorization);
    for (const [authorization, streams] of byAuthorization) {
      const reason = await this.#standing(authorization);
      if (reason === undefined) continue;
      for (const { end } of streams) end.abort(new ConnectError(reason, Code.Unauthenticated));
    }
  }

  /** Why not; undefined: whoever it is stays. That an address is slowed down, or that nobody can say, ends nothing. */
  async #standing(authorization: string | undefined): Promise<string | undefined> {
    const { authenticator, source } = this.#options;
    const [, token] = BEARER.exec(authorization ?? '') ?? [];
    try {
      const answer = token === undefined ? this.#certified() : await authenticator.bearer(token, source);
      if (answer === undefined) return undefined;
      return isPrincipal(answer) || answer.retryAfterMs !== undefined ? undefined : answer.reason;
    } catch (error) {
      this.#options.failed(error);
      return undefined;
    }
  }

  /** Of its certificate. */
  #verdict(): OperatorVerdict | undefined {
    const { shown, judge } = this.#options;
    if (shown === 'nothing') return undefined;
    if (shown !== 'unreadable') return judge(shown);
    return { kind: 'refused', refusal: 'unsuitable', reason: 'your certificate can not be read' };
  }

  /** undefined: there is none. */
  #certified(): Principal | (NotAuthenticated & { readonly refusal: CallerRefusal }) | undefined {
    const verdict = this.#verdict();
    if (verdict === undefined) return undefined;
    if (verdict.kind === 'refused') return verdict;
    const answer = this.#options.authenticator.certificate(verdict.operator.user);
    return isPrincipal(answer) ? answer : { ...answer, refusal: 'user' };
  }

  #byCertificate(): AllowedPeer | RefusedPeer {
    try {
      const answer = this.#certified();
      if (answer === undefined) return { allowed: true, author: this.author, ...this.#from, principal: undefined };
      return isPrincipal(answer)
        ? this.#allowed(answer)
        : this.#refuse(answer.refusal, answer.reason, answer.retryAfterMs);
    } catch (error) {
      return this.#broken(error);
    }
  }

  #inTurn(authorization: string): Promise<AllowedPeer | RefusedPeer> {
    const answer = this.#turn.then(() => this.#byToken(authorization));
    this.#turn = answer;
    return answer;
  }

  /** Never rejects. */
  async #byToken(authorization: string): Promise<AllowedPeer | RefusedPeer> {
    const { authenticator, failures, nowMs, source } = this.#options;
    const key = sourceOf(source);
    const waitMs = failures.waitMs(key, nowMs());
    if (waitMs > 0) return this.#refuse('slowed', 'too many tokens from this address were wrong', waitMs);
    const [, token] = BEARER.exec(authorization) ?? [];
    try {
      const answer: Principal | NotAuthenticated =
        token === undefined
          ? { reason: 'the header "authorization" is not "Bearer TOKEN"' }
          : await authenticator.bearer(token, source);
      if (isPrincipal(answer)) return this.#allowed(answer);
      failures.admit(key, nowMs());
      return this.#refuse('token', answer.reason, answer.retryAfterMs);
    } catch (error) {
      return this.#broken(error);
    }
  }

  #allowed(principal: Principal): AllowedPeer {
    const { name: author, via } = principal;
    return { allowed: true, author, via, source: this.#options.source, principal };
  }

  #refuse(refusal: CallerRefusal, reason: string, retryAfterMs?: number): RefusedPeer {
    const later = retryAfterMs === undefined ? '' : `: try again in ${Math.ceil(retryAfterMs / 1_000)} s`;
    this.#options.refused(refusal, reason);
    return {
      allowed: false,
      author: this.author,
      ...this.#from,
      reason: `${reason}${later}`,
      code: Code.Unauthenticated,
    };
  }

  #broken(error: unknown): RefusedPeer {
    this.#options.failed(error);
    const reason = "who you are could not be found out: the agent's log has the details";
    return { allowed: false, author: this.author, ...this.#from, reason, code: Code.Unavailable };
  }
}

function isPrincipal<T extends NotAuthenticated>(answer: Principal | T): answer is Principal {
  return 'role' in answer;
}

/** Whether somebody answers for the call. */
export function isKnown(peer: AllowedPeer | RefusedPeer): boolean {
  return peer.allowed && peer.principal !== undefined;
}
