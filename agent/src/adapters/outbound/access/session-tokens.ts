// SPDX-License-Identifier: Apache-2.0
/**
 * Sessions as JWTs (RFC 7519), signed by the frame key of the node that a user has logged in at: every node has its
 * public key, vouched for by its certificate, so that all can verify what one has issued. What that key signs beside
 * are hashes of 32 bytes, which no JWT is. Accepted is EdDSA alone, for this mesh alone, of a node that is in it.
 */
import type { KeyObject } from 'node:crypto';
import { errors, jwtVerify, SignJWT } from 'jose';
import { SESSION } from '../../../domain/access/session.js';
import { isNodeId } from '../../../domain/identity/names.js';
import type { SessionClaims, SessionTokens } from '../../../ports/access.js';

const ALGORITHM = 'EdDSA';
const TYPE = 'marcher-session+jwt';
/** Clocks of nodes differ. */
const TOLERANCE_S = 5;
const SESSION_ID = /^[0-9a-f]{32}$/;

export interface SessionKeys {
  readonly meshId: string;
  readonly nodeId: string;
  /** Of Ed25519. */
  readonly key: KeyObject;
  /** Public, of a node that is in the mesh; undefined: it is not, or is not believed. */
  readonly keyOf: (nodeId: string) => KeyObject | undefined;
}

export function createSessionTokens({ meshId, nodeId, key, keyOf }: SessionKeys): SessionTokens {
  return {
    sign: ({ user, id, startedMs, expiresMs }, nowMs) =>
      // Times are NumericDates, which may have fractions: what is revoked within a second is.
      new SignJWT({ sid: id, auth_time: startedMs / 1_000 })
        .setProtectedHeader({ alg: ALGORITHM, kid: nodeId, typ: TYPE })
        .setSubject(user)
        .setAudience(meshId)
        .setIssuedAt(nowMs / 1_000)
        .setExpirationTime(expiresMs / 1_000)
        .sign(key),
    async verify(token, nowMs) {
      try {
        const { payload } = await jwtVerify(
          token,
          ({ kid }) => {
            const known = typeof kid === 'string' && isNodeId(kid) ? keyOf(kid) : undefined;
            if (known === undefined) throw new errors.JWKSNoMatchingKey();
            return known;
          },
          {
            algorithms: [ALGORITHM],
            audience: meshId,
            typ: TYPE,
            clockTolerance: TOLERANCE_S,
            currentDate: new Date(nowMs),
            requiredClaims: ['sub', 'sid', 'auth_time', 'iat', 'exp'],
          },
        );
        return claimsOf(payload, nowMs);
      } catch {
        // What it was is not said, and not logged: it may be a token that is good elsewhere.
        return undefined;
      }
    },
  };
}

function claimsOf(payload: Record<string, unknown>, nowMs: number): SessionClaims | undefined {
  const { sub, sid, auth_time: started, iat, exp } = payload;
  if (typeof sub !== 'string' || typeof sid !== 'string' || !SESSION_ID.test(sid)) return undefined;
  if (typeof started !== 'number' || typeof iat !== 'number' || typeof exp !== 'number') return undefined;
  const expiresMs = Math.round(exp * 1_000);
  const startedMs = Math.round(started * 1_000);
  // No node makes one that lasts longer, or one of the future.
  const toleranceMs = TOLERANCE_S * 1_000;
  if (expiresMs - iat * 1_000 > SESSION.tokenMs + 1 || iat * 1_000 > nowMs + toleranceMs) return undefined;
  if (startedMs > nowMs + toleranceMs + SESSION.clockMarginMs) return undefined;
  return { user: sub, id: sid, startedMs, expiresMs };
}
