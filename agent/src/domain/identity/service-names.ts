// SPDX-License-Identifier: Apache-2.0
/**
 * Names that a service's certificate is for: DNS names, whose first label may be "*", and IP addresses (RFC 5280, 4.2.1.6;
 * RFC 9525, 6.3). In the form in which they are compared: lower case, addresses as RFC 5952 writes them.
 */
import { addressText, parseIp } from '../address.js';

export interface ServiceNames {
  readonly dns: readonly string[];
  readonly addresses: readonly string[];
}

export const SERVICE_NAMES_MAX = 100;
/** A trailing dot is not counted: certificates have none. */
const DNS_CHARACTERS = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const SHOWN = 80;

/** faults: a sentence for each that can't be named. */
export function readServiceNames(texts: readonly string[]): ServiceNames & { readonly faults: readonly string[] } {
  const dns = new Set<string>();
  const addresses = new Set<string>();
  const faults: string[] = [];
  if (texts.length === 0) faults.push('there is no name: give a DNS name or an IP address that clients call it by');
  if (texts.length > SERVICE_NAMES_MAX) {
    faults.push(`${texts.length} names are more than ${SERVICE_NAMES_MAX}: divide them among certificates`);
    return { dns: [], addresses: [], faults };
  }
  for (const text of texts) {
    const address = parseIp(text);
    if (address !== undefined) {
      addresses.add(addressText(address));
      continue;
    }
    const name = text.toLowerCase();
    const fault = dnsFault(name);
    if (fault === undefined) dns.add(name);
    else faults.push(`${JSON.stringify(text.slice(0, SHOWN))} ${fault}`);
  }
  return { dns: [...dns], addresses: [...addresses], faults };
}

/** Addresses last. */
export function allNames({ dns, addresses }: ServiceNames): string[] {
  return [...dns, ...addresses];
}

function dnsFault(name: string): string | undefined {
  if (name.length === 0 || name.length > DNS_CHARACTERS) return `is no name: write 1 to ${DNS_CHARACTERS} characters`;
  if (/[^ -~]/.test(name)) return 'is not ASCII: write its labels as DNS has them (xn--...)';
  if (/[:/@]/.test(name)) return 'is no host: write a DNS name or an IP address, without scheme and port';
  const labels = name.split('.');
  const [first = '', ...rest] = labels;
  const wild = first === '*';
  if (wild && rest.length < 2) return 'is too wide: write "*" before a domain, such as *.example.org';
  if (!wild && name.includes('*')) return 'has a "*" that is not its whole first label: write *.example.org';
  if (wild && name.lastIndexOf('*') > 0) return 'has more than one "*": write one, as the first label';
  const bad = (wild ? rest : labels).find((label) => !LABEL.test(label));
  if (bad !== undefined) return `has a label that is none, ${JSON.stringify(bad)}: write a-z, 0-9 and "-" between dots`;
  if (/^\d+$/.test(labels.at(-1) ?? '')) return 'is neither a DNS name nor an IP address';
  return undefined;
}
