// SPDX-License-Identifier: Apache-2.0
/** The thread of the page's fleet. Its calls are those of the page: to where it was served from, with the same cookie. */
import { Fleet, systemAmbient } from '@marcher/client/fleet';
import type { BeginFleet, FleetPlace, FromFleet, Port, ToFleet } from './fleet-port.js';
import { reachFrom } from './reach.js';
import { serveFleet } from './served-fleet.js';

const page = globalThis as unknown as Port<FromFleet, ToFleet | BeginFleet>;
/** What the page has said before there was a fleet. */
const early: ToFleet[] = [];
let hear = (data: ToFleet): void => void early.push(data);

page.addEventListener('message', ({ data }) => {
  // The page is told of errors alone, not of promises that fail.
  if (data.kind === 'begin') begin(data).catch(reportError);
  else hear(data);
});

async function begin(place: FleetPlace): Promise<void> {
  const fleet = new Fleet({ reach: await reachFrom(place), ambient: systemAmbient() });
  serveFleet(fleet, {
    postMessage: (message, transfer) => page.postMessage(message, transfer),
    addEventListener: (_, listener) => {
      hear = (data) => listener({ data });
    },
  });
  for (const data of early.splice(0)) hear(data);
  fleet.start();
}
