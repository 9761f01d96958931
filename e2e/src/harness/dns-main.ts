// SPDX-License-Identifier: Apache-2.0
/** A DNS server just large enough for the tests: answers A and AAAA from a table, everything else with NXDOMAIN. */
import dgram from 'node:dgram';
import net from 'node:net';

export interface DnsSettings {
  readonly host: string;
  readonly port: number;
  readonly ttlSeconds: number;
  /** Addresses by name (lower case, no final dot). */
  readonly records: Readonly<Record<string, readonly string[]>>;
}

const TYPE_A = 1;
const TYPE_AAAA = 28;

const addressBytes = (address: string): Buffer => {
  if (net.isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const groups = (text: string | undefined): string[] => (text ? text.split(':') : []);
  const left = groups(head);
  const right = groups(tail);
  const all = tail === undefined ? left : [...left, ...Array(8 - left.length - right.length).fill('0'), ...right];
  return Buffer.from(all.map((g) => g.padStart(4, '0')).join(''), 'hex');
};

/** The answer to one query (RFC 1035, section 4); undefined when it is not one. */
export const answer = (query: Buffer, settings: DnsSettings): Buffer | undefined => {
  if (query.length < 17 || query.readUInt16BE(4) !== 1) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (;;) {
    const length = query[at];
    if (length === undefined || length > 63) return undefined;
    at += 1;
    if (length === 0) break;
    labels.push(query.toString('latin1', at, at + length).toLowerCase());
    at += length;
  }
  if (at + 4 > query.length) return undefined;
  const type = query.readUInt16BE(at);
  const question = query.subarray(12, at + 4);
  const known = settings.records[labels.join('.')];
  const addresses = (known ?? []).filter(
    (a) => (type === TYPE_A && net.isIPv4(a)) || (type === TYPE_AAAA && net.isIPv6(a)),
  );
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(known === undefined ? 0x8583 : 0x8580, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(addresses.length, 6);
  header.writeUInt32BE(0, 8);
  const records = addresses.map((address) => {
    const data = addressBytes(address);
    const head = Buffer.alloc(12);
    head.writeUInt16BE(0xc00c, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt32BE(settings.ttlSeconds, 6);
    head.writeUInt16BE(data.length, 10);
    return Buffer.concat([head, data]);
  });
  return Buffer.concat([header, question, ...records]);
};

if (process.argv[1] === import.meta.filename) {
  let settings = JSON.parse(process.argv[2] ?? '{}') as DnsSettings;
  const socket = dgram.createSocket('udp4');
  socket.on('message', (query, peer) => {
    const reply = answer(query, settings);
    if (reply !== undefined) socket.send(reply, peer.port, peer.address);
  });
  socket.bind(settings.port, settings.host, () => process.send?.({ ready: true }));
  process.on('message', (records: DnsSettings['records']) => {
    settings = { ...settings, records };
    process.send?.({ changed: true });
  });
  process.on('disconnect', () => process.exit(0));
}
