// SPDX-License-Identifier: Apache-2.0
/** Addresses as operators and node records write them: "192.0.2.1:7401", "[2001:db8::1]:7401", "node-1.example:7401". */
import { isIP } from 'node:net';
import type { Address } from '@marcher/swim';

const FORM = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([a-zA-Z0-9._-]{1,253})):(\d{1,5})$/;

export interface HostPortRules {
  /** The host may be a name, to be looked up. */
  readonly names?: boolean;
  /** Port 0 stands for any. */
  readonly anyPort?: boolean;
}

/** undefined: it is none of these. */
export function parseHostPort(
  text: string,
  { names = false, anyPort = false }: HostPortRules = {},
): Address | undefined {
  const [, bracketed, plain, digits] = FORM.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535 || (port === 0 && !anyPort)) return undefined;
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? { host, port } : undefined;
  if (isIP(host) === 4) return { host, port };
  // What is made of digits and dots was meant as an address: "192.0.2.300" is nobody's name.
  return names && /[a-zA-Z]/.test(host) ? { host, port } : undefined;
}

export function hostPortText({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
