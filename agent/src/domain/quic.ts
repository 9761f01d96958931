// SPDX-License-Identifier: Apache-2.0
/**
 * QUIC connection IDs that name their backend (draft-ietf-quic-load-balancers-21, without encryption): a client that
 * moves to another address, or whose NAT gives it another port, stays where its connection is. Only packet tiers read
 * them: the relay knows sessions by addresses.
 */
import { create } from '@bufbuild/protobuf';
import { Protocol, type Service } from '@marcher/model';
import { type Quic, QuicSchema } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { type FaultSink, packetModeOf } from './packet-service.js';

const CONFIG_ID_MAX = 6;
const SERVER_ID_MAX = 15;

/** The bytes of backends[].quicServerId; undefined: it is not one. */
export function quicServerId(hex: string): Uint8Array | undefined {
  const { length } = hex;
  if (!/^[0-9a-f]*$/i.test(hex) || length === 0 || length % 2 !== 0 || length > 2 * SERVER_ID_MAX) return undefined;
  return Uint8Array.from({ length: length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/** undefined: nothing is read from the service's datagrams. */
export function packetQuic(service: Service): Quic | undefined {
  const { quic } = service.udp ?? {};
  if (quic === undefined) return undefined;
  return create(QuicSchema, {
    configIds: quic.configIds.length === 0 ? [0] : [...quic.configIds].sort((a, b) => a - b),
    lengthSelfEncoded: quic.lengthSelfEncoded ?? false,
  });
}

export function validateQuic(service: Service, path: string, faults: FaultSink): void {
  const { quic } = service.udp ?? {};
  const at = `${path}.udp.quic`;
  if (quic !== undefined) {
    if (packetModeOf(service) === undefined) {
      const reason = 'stands in a service that the relay carries, which knows a client by its address and port alone';
      faults.add(at, reason, 'write forwarding.mode ipip, gue, l2 or nat, or remove it');
    }
    if (!service.listeners.some(({ protocol }) => protocol === Protocol.UDP)) {
      faults.add(at, 'stands in a service without a udp listener', 'add one, or remove it');
    }
    quic.configIds.forEach((id, i) => {
      if (id > CONFIG_ID_MAX) {
        const fix = `write 0 to ${CONFIG_ID_MAX}: 7 says that a connection ID names nobody`;
        faults.add(`${at}.configIds[${i}]`, `${id} is not a configuration ID`, fix);
      } else if (quic.configIds.indexOf(id) !== i) {
        faults.add(`${at}.configIds[${i}]`, `${id} is there twice`, 'keep one');
      }
    });
  }
  validateServerIds(service, path, faults);
}

function validateServerIds({ udp, backends }: Service, path: string, faults: FaultSink): void {
  /** Whose each is. */
  const owners = new Map<string, number>();
  const length = backends.map(({ quicServerId: text }) => quicServerId(text)?.length).find((one) => one !== undefined);
  backends.forEach(({ quicServerId: text }, i) => {
    const at = `${path}.backends[${i}].quicServerId`;
    const id = text.toLowerCase();
    if (udp?.quic === undefined) {
      if (text !== '') faults.add(at, 'stands in a service without udp.quic', 'write udp: { quic: {} }, or remove it');
      return;
    }
    const bytes = quicServerId(id);
    if (text === '') {
      faults.add(
        at,
        'is missing, and udp.quic tells backends apart by it',
        'write the server ID of the backend, such as "0a01"',
      );
    } else if (bytes === undefined) {
      const reason = `${JSON.stringify(text)} is not 1 to ${SERVER_ID_MAX} bytes in hexadecimal`;
      faults.add(at, reason, 'write two digits for each byte, such as "0a01"');
    } else if (bytes.length !== length) {
      const reason = `has ${bytes.length} bytes, and the first that is one has ${length}: a connection ID does not tell how long it is`;
      faults.add(at, reason, 'give all backends of the service server IDs of one length');
    } else if (owners.has(id)) {
      faults.add(at, `${text} is also that of backends[${owners.get(id)}]`, 'give each backend one of its own');
    } else owners.set(id, i);
  });
}
