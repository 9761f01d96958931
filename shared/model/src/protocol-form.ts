// SPDX-License-Identifier: Apache-2.0
/** How the file form writes a transport. */
import { Protocol } from '@marcher/proto/marcher/v1/model_pb';

export const PROTOCOLS = ['tcp', 'udp'] as const;

export const PROTOCOL = { tcp: Protocol.TCP, udp: Protocol.UDP } as const;

export const PROTOCOL_NAME: Readonly<Record<number, (typeof PROTOCOLS)[number]>> = {
  [Protocol.TCP]: 'tcp',
  [Protocol.UDP]: 'udp',
};
