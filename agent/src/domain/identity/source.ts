// SPDX-License-Identifier: Apache-2.0
/** Whose attempts are counted as one's. */
import { addressText, networkOf, parseIp } from '../address.js';

/** What one customer of a provider has at least (RFC 6177, section 2), and one machine can dial from any address of. */
const IPV6_BITS = 64;

/** Of an IP address: itself, or the /64 that an IPv6 address is in. What is no address stands for itself. */
export function sourceOf(remoteAddress: string): string {
  const address = parseIp(remoteAddress.split('%', 1)[0] ?? '');
  if (address === undefined) return remoteAddress;
  if (address.length === 4) return addressText(address);
  return `${addressText(networkOf({ address, length: IPV6_BITS }).address)}/${IPV6_BITS}`;
}
