// SPDX-License-Identifier: Apache-2.0
/**
 * The fleet's end of the way to its page. One patch is under way at a time: a page that has something else to do is told less often,
 * and what is newest.
 */
import type { Fleet, FleetState } from '@marcher/client/fleet';
import { StateDiffer, type StatePatch } from '@marcher/client/fleet/mirror';
import type { FromFleet, Port, ToFleet } from './fleet-port.js';

export function serveFleet(
  fleet: Pick<Fleet, 'state' | 'subscribe' | 'watch' | 'pause' | 'resume' | 'retry'>,
  port: Port<FromFleet, ToFleet>,
): void {
  const differ = new StateDiffer();
  let told: FleetState | undefined;
  let pieces: Iterator<StatePatch> | undefined;
  let isUnderWay = false;
  let unwatch = (): void => {};
  const tell = (): void => {
    if (isUnderWay) return;
    for (;;) {
      if (pieces === undefined) {
        if (told === fleet.state) return;
        told = fleet.state;
        pieces = differ.patches(told)[Symbol.iterator]();
      }
      const { done, value } = pieces.next();
      if (done !== true) {
        isUnderWay = true;
        port.postMessage({ kind: 'patch', patch: value }, [value.numbers.buffer]);
        return;
      }
      pieces = undefined;
    }
  };
  port.addEventListener('message', ({ data }) => {
    switch (data.kind) {
      case 'pause':
        fleet.pause();
        break;
      case 'resume':
        fleet.resume();
        break;
      case 'retry':
        fleet.retry(data.node);
        break;
      case 'watch': {
        // The new ones first: a history that goes on being wanted is kept.
        const before = unwatch;
        unwatch = fleet.watch(data.services);
        before();
        break;
      }
      case 'taken':
        isUnderWay = false;
        tell();
    }
  });
  fleet.subscribe(tell);
  tell();
}
