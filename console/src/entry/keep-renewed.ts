// SPDX-License-Identifier: Apache-2.0
import type { SessionTokenSource } from '@marcher/client';

const LOOK_MS = 15_000;

/** Also while no page makes a call: streams that are open renew nothing. Gives what ends it. */
export function keepRenewed(session: SessionTokenSource): () => void {
  const timer = setInterval(() => {
    // That it is over is what the next call says.
    session().catch(() => undefined);
  }, LOOK_MS);
  return () => clearInterval(timer);
}
