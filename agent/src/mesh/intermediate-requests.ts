// SPDX-License-Identifier: Apache-2.0
/**
 * The key of an intermediate between the two calls by which an operator brings its certificate: in memory alone, one at a time, for an
 * hour. If the agent ends meanwhile, the operator asks again.
 */
import { createIntermediateRequest, type IntermediateRequest } from '../adapters/outbound/identity/intermediate.js';
import type { Mesh } from '../domain/identity/issue.js';
import { IdentityError } from '../ports/identity.js';

const KEPT_MS = 3_600_000;

export class IntermediateRequests {
  #made: { readonly request: IntermediateRequest; readonly untilMs: number } | undefined;

  /** What was asked for before is of no use any more. */
  async make(mesh: Mesh): Promise<IntermediateRequest> {
    const request = await createIntermediateRequest(mesh);
    this.#made?.request.privateKey.fill(0);
    this.#made = { request, untilMs: performance.now() + KEPT_MS };
    return request;
  }

  /** Once. Fails as IdentityError "missing". */
  take(): IntermediateRequest {
    const made = this.#made;
    this.#made = undefined;
    if (made !== undefined && performance.now() <= made.untilMs) return made.request;
    const fix = 'give the command again, and to the end';
    throw new IdentityError('missing', `this node has no key that an intermediate was asked for: ${fix}`);
  }
}
