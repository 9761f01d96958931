// SPDX-License-Identifier: Apache-2.0
/** Begins the thread of the page's fleet; it ends with the page. */
import type { BeginFleet, FleetPlace } from './fleet-port.js';
import { RemoteFleet } from './remote-fleet.js';

/** failed: nothing more comes of it, and what is shown would be old without anybody seeing it. */
export function startFleet(place: FleetPlace, failed: (why: string) => void): RemoteFleet {
  const worker = new Worker(new URL('./fleet-worker.ts', import.meta.url), { type: 'module' });
  worker.addEventListener('error', ({ message }) => {
    worker.terminate();
    failed(
      `The part of the console that listens to the nodes has ended: ${message || 'it could not be loaded'}. Load the page again.`,
    );
  });
  // A page that is kept for the way back has no thread then, and is loaded again.
  addEventListener('pagehide', () => worker.terminate());
  addEventListener('pageshow', ({ persisted }) => {
    if (persisted) location.reload();
  });
  const fleet = new RemoteFleet(worker);
  worker.postMessage({ kind: 'begin', ...place } satisfies BeginFleet);
  return fleet;
}
