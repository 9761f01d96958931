// SPDX-License-Identifier: Apache-2.0
import { type Listener, Protocol } from '@marcher/proto/marcher/v1/model_pb';

/** "tcp:443, udp:[2001:db8::1]:8000-8010" */
export function listenersText(listeners: readonly Listener[]): string {
  return listeners
    .map(({ protocol, address, ports }) => {
      const name = protocol === Protocol.UDP ? 'udp' : 'tcp';
      const host = address === '' ? '' : address.includes(':') ? `[${address}]:` : `${address}:`;
      return `${name}:${host}${ports.map(({ first, last }) => (first === last ? first : `${first}-${last}`)).join(',')}`;
    })
    .join(', ');
}
