// SPDX-License-Identifier: Apache-2.0
/**
 * Addresses as operators write them, to bytes as the engine wants them. Written by hand because the domain uses no
 * platform API, and because 100,000 of them are read in one apply.
 */

/**
 * Dotted quad, strictly: four decimal numbers without leading zeros (RFC 6943 section 3.1.1). As a number, or -1: the
 * addresses of a whole configuration are read without an object for each.
 */
function ipv4Number(text: string, start: number, end: number): number {
  if (end - start < 7 || end - start > 15) return -1;
  let address = 0;
  let octet = -1;
  let index = 0;
  let digits = 0;
  for (let i = start; i < end; i++) {
    const c = text.charCodeAt(i);
    if (c === 46) {
      if (octet < 0 || index === 3) return -1;
      address = address * 256 + octet;
      index++;
      octet = -1;
      digits = 0;
    } else if (c >= 48 && c <= 57) {
      if (digits > 0 && octet === 0) return -1;
      octet = digits === 0 ? c - 48 : octet * 10 + (c - 48);
      digits++;
      if (octet > 255) return -1;
    } else return -1;
  }
  return index === 3 && octet >= 0 ? address * 256 + octet : -1;
}

function ipv4Bytes(address: number): Uint8Array {
  return new Uint8Array([address >>> 24, (address >>> 16) & 255, (address >>> 8) & 255, address & 255]);
}

export function parseIpv4(text: string, start = 0, end = text.length): Uint8Array | undefined {
  const address = ipv4Number(text, start, end);
  return address === -1 ? undefined : ipv4Bytes(address);
}

/** RFC 4291 section 2.2, without zone. */
export function parseIpv6(text: string): Uint8Array | undefined {
  if (text.length < 2 || text.length > 45 || !text.includes(':')) return undefined;
  const gap = text.indexOf('::');
  if (gap !== -1 && text.indexOf('::', gap + 1) !== -1) return undefined;
  const half = (part: string): number[] | undefined => {
    if (part === '') return [];
    const out: number[] = [];
    const groups = part.split(':');
    for (let i = 0; i < groups.length; i++) {
      const group = groups[i] ?? '';
      if (i === groups.length - 1 && group.includes('.')) {
        const v4 = parseIpv4(group);
        if (v4 === undefined) return undefined;
        out.push(...v4);
      } else {
        if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
        const value = Number.parseInt(group, 16);
        out.push(value >> 8, value & 255);
      }
    }
    return out;
  };
  const head = half(gap === -1 ? text : text.slice(0, gap));
  const tail = gap === -1 ? [] : half(text.slice(gap + 2));
  if (head === undefined || tail === undefined) return undefined;
  if (gap !== -1 && text.slice(0, gap).includes('.')) return undefined;
  const length = head.length + tail.length;
  if (gap === -1 ? length !== 16 : length > 14) return undefined;
  const bytes = new Uint8Array(16);
  bytes.set(head, 0);
  bytes.set(tail, 16 - tail.length);
  return bytes;
}

/** 4 or 16 bytes; IPv4-mapped IPv6 (::ffff:a.b.c.d) is IPv4. */
export function parseIp(text: string): Uint8Array | undefined {
  const v4 = parseIpv4(text);
  if (v4 !== undefined) return v4;
  const v6 = parseIpv6(text);
  if (v6 === undefined) return undefined;
  const mapped = v6[10] === 0xff && v6[11] === 0xff && v6.subarray(0, 10).every((byte) => byte === 0);
  return mapped ? v6.slice(12) : v6;
}

export interface Prefix {
  readonly address: Uint8Array;
  readonly length: number;
}

/** "10.0.0.0/8", or an address alone. Bits beyond the length must be zero, as they are most often a mistake. */
export function parsePrefix(text: string): Prefix | 'malformed' | 'host-bits' {
  const slash = text.indexOf('/');
  const address = parseIp(slash === -1 ? text : text.slice(0, slash));
  if (address === undefined) return 'malformed';
  const bits = address.length * 8;
  if (slash === -1) return { address, length: bits };
  const digits = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(digits) || Number(digits) > bits) return 'malformed';
  const length = Number(digits);
  for (let bit = length; bit < bits; bit++) {
    if (((address[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1) return 'host-bits';
  }
  return { address, length };
}

/**
 * What a listener's address names: one whole address, whose length is that of the family, or a prefix. undefined: neither,
 * or bits beyond the length are set.
 */
export function parseListenerAddress(text: string): Prefix | undefined {
  const prefix = parsePrefix(text);
  return typeof prefix === 'string' ? undefined : prefix;
}

/** True of a prefix that is more than one address. */
export function isWide({ address, length }: Prefix): boolean {
  return length < address.length * 8;
}

/** As operators write it, without its host bits. */
export function prefixText({ address, length }: Prefix): string {
  return `${addressText(address)}/${length}`;
}

/** RFC 5952, but for IPv4 in IPv6. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  );
  let start = -1;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === '0') end++;
    if (end - i > longest) [start, longest] = [i, end - i];
  }
  if (start === -1) return groups.join(':');
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + longest).join(':')}`;
}

/** The prefix that an address with host bits set lies in. */
export function networkOf({ address, length }: Prefix): Prefix {
  const bytes = address.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))));
  return { address: bytes, length };
}

export type Target =
  | { readonly kind: 'ip'; readonly address: Uint8Array; readonly port: number }
  | { readonly kind: 'dns'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export type TargetFailure = { readonly kind: 'failure'; readonly reason: string; readonly fix: string };

const FIX = 'write "host:port", "[v6-address]:port", "host" (the port the client came to) or "unix:/path"';
/** sockaddr_un.sun_path with its final NUL (unix(7)). */
const UNIX_PATH_MAX = 107;

function fail(reason: string, fix = FIX): TargetFailure {
  return { kind: 'failure', reason, fix };
}

function parsePort(text: string, start: number): number {
  const digits = text.length - start;
  if (digits < 1 || digits > 5) return -1;
  let port = 0;
  for (let i = start; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 48 || c > 57) return -1;
    port = port * 10 + (c - 48);
  }
  return port >= 1 && port <= 65_535 ? port : -1;
}

/** A host name of RFC 1123 section 2.1, with underscores, which service names in private DNS often have. */
export function isHostName(text: string): boolean {
  if (text.length < 1 || text.length > 253) return false;
  if (!/^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?$/.test(text)) return false;
  // The last label of a name is never all digits, so that "10.0.0.300" is a mistyped address and not a name.
  return !/(?:^|\.)\d+\.?$/.test(text);
}

/**
 * "192.0.2.1:80" or "192.0.2.1" as address * 65536 + port, and -1 for all else: what parseTarget says of the targets that
 * most backends have, without its objects.
 */
export function ipv4Target(text: string): number {
  const colon = text.indexOf(':');
  const address = ipv4Number(text, 0, colon === -1 ? text.length : colon);
  if (address === -1) return -1;
  const port = colon === -1 ? 0 : parsePort(text, colon + 1);
  return port === -1 ? -1 : address * 65_536 + port;
}

/** A backend's address. port 0: the port that the client came to. */
export function parseTarget(text: string): Target | TargetFailure {
  const ipv4 = ipv4Target(text);
  if (ipv4 !== -1) return { kind: 'ip', address: ipv4Bytes(Math.floor(ipv4 / 65_536)), port: ipv4 % 65_536 };
  if (text === '') return fail('is missing');
  if (text.startsWith('unix:')) {
    const path = text.slice(5);
    if (!path.startsWith('/')) return fail('is not an absolute path', 'write "unix:/absolute/path"');
    const bytes = new TextEncoder().encode(path).length;
    if (bytes > UNIX_PATH_MAX) {
      return fail(`has a path of ${bytes} bytes, and the kernel takes ${UNIX_PATH_MAX}`, 'use a shorter path');
    }
    if (path.includes('\0')) return fail('has a NUL character in its path');
    return { kind: 'unix', path };
  }
  if (text.charCodeAt(0) === 91) {
    const close = text.indexOf(']');
    const address = close === -1 ? undefined : parseIp(text.slice(1, close));
    if (address === undefined) return fail(`${JSON.stringify(text)} is not an IPv6 address in brackets`);
    if (close === text.length - 1) return { kind: 'ip', address, port: 0 };
    const port = text.charCodeAt(close + 1) === 58 ? parsePort(text, close + 2) : -1;
    if (port === -1)
      return fail(`${JSON.stringify(text)} has no valid port`, 'write a port from 1 to 65535 after "]:"');
    return { kind: 'ip', address, port };
  }
  const colon = text.lastIndexOf(':');
  if (colon !== -1 && text.indexOf(':') !== colon) {
    const address = parseIp(text);
    if (address !== undefined) return { kind: 'ip', address, port: 0 };
    return fail(`${JSON.stringify(text)} has several colons`, 'put an IPv6 address in brackets: "[2001:db8::1]:8080"');
  }
  let port = 0;
  if (colon !== -1) {
    port = parsePort(text, colon + 1);
    if (port === -1) return fail(`${JSON.stringify(text)} has no valid port`, 'write a port from 1 to 65535 after ":"');
  }
  const end = colon === -1 ? text.length : colon;
  const host = text.slice(0, end);
  if (!isHostName(host)) return fail(`${JSON.stringify(host)} is neither an IP address nor a host name`);
  return { kind: 'dns', host, port };
}
