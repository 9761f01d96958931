// SPDX-License-Identifier: Apache-2.0
/** The thread of the page's fleet. Its calls are those of the page: to where it was served from, with the same cookie. */
import { Fleet, systemAmbient } from '@marcher/client/fleet';
import type { BeginFleet, FleetPlace, FromFleet, Port, ToFleet } from './fleet-port.js';
import { reachThrough } from './reach.js';
import { serveFleet } from './served-fleet.js';
import { gatewayTransports, type TransportTo } from './transport.js';

const page = globalThis as unknown as Port<FromFleet, ToFleet | BeginFleet>;

page.addEventListener('message', ({ data }) => {
  if (data.kind === 'begin') void begin(data);
});

async function begin(place: FleetPlace): Promise<void> {
  const fleet = new Fleet({ reach: reachThrough(await transportsTo(place)), ambient: systemAmbient() });
  serveFleet(fleet, page as Port<FromFleet, ToFleet>);
  fleet.start();
}

async function transportsTo({ base, mesh }: FleetPlace): Promise<TransportTo> {
  if (mesh === undefined) return gatewayTransports(base);
  const { desktopTransports } = await import('../desktop/transports.js');
  return desktopTransports(base, mesh);
}
