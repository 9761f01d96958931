// SPDX-License-Identifier: Apache-2.0
/** Agents by name: added, listed, chosen, removed. Only --mesh-root asks one. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  LOCAL_NAME,
  type NamedTarget,
  named,
  withCurrent,
  withoutTarget,
  withTarget,
} from '@marcher/client/address-book';
import { formatTarget, parseTarget, type Target } from '@marcher/client/target';
import { addressBook } from '../chosen-target.js';
import { type CredentialOptions, readCredentials, refuseCredentials } from '../credentials.js';
import { usage } from '../failure.js';
import { age } from '../output/quantity.js';
import { writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import type { Session } from '../session.js';
import { writeTable } from './get.js';

const PIN_MS = 10_000;

interface TextOptions {
  readonly output: 'text' | 'json' | 'yaml';
}

export interface AddOptions extends TextOptions, Omit<CredentialOptions, 'tokenFile'> {
  readonly url: string;
  readonly meshRoot?: string;
  readonly use?: boolean;
}

export async function add(session: Session, options: AddOptions, name: string): Promise<undefined> {
  const target = targetOf(options.url);
  const { caFile, certFile, keyFile, nodeId, meshRoot } = options;
  const credentials: CredentialOptions = {
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
    ...(nodeId === undefined ? {} : { nodeId }),
  };
  if (target.kind !== 'tls') {
    refuseCredentials(credentials);
    if (meshRoot !== undefined) throw usage('--mesh-root is for an agent on another machine: --url https://HOST:PORT');
  }
  if (caFile !== undefined && meshRoot !== undefined) throw usage('give --ca-file or --mesh-root, not both');
  // Now, so that what can't be used is said here. Of the CA's file a copy is kept, of the others where they are.
  if (target.kind === 'tls') readCredentials(credentials, {}, Date.now());
  const file = await addressBook(process.env);
  const entry: NamedTarget = {
    url: formatTarget(target),
    ...(certFile === undefined || keyFile === undefined
      ? {}
      : { certFile: resolve(certFile), keyFile: resolve(keyFile) }),
    ...(nodeId === undefined ? {} : { nodeId }),
  };
  // Before somebody is asked.
  withTarget(file.read(), name, entry);
  const ca = caFile === undefined ? await pinned(target, meshRoot) : readFileSync(caFile, 'utf8');
  await file.update((book) => {
    const added = withTarget(book, name, ca === undefined ? entry : { ...entry, ca });
    return options.use === true ? withCurrent(added, name) : added;
  });
  if (options.output !== 'text') await writeValue(session, options.output, { name, url: entry.url });
  else await session.write(`Target ${name} is ${entry.url}${options.use === true ? ', used from now on' : ''}.\n`);
  if (target.kind === 'tls' && certFile === undefined) process.stderr.write(`Next: marcher login -t ${name}\n`);
}

function targetOf(url: string): Target {
  try {
    return parseTarget(url);
  } catch (error) {
    throw usage(`--url: ${(error as Error).message}`);
  }
}

async function pinned(target: Target, meshRoot: string | undefined): Promise<string | undefined> {
  if (meshRoot === undefined || target.kind !== 'tls') return undefined;
  const { fetchPinnedRoot, parseFingerprint } = await import('@marcher/client');
  const fingerprint = parseFingerprint(meshRoot);
  if (fingerprint !== undefined) return await fetchPinnedRoot(target, fingerprint, PIN_MS);
  const expected = 'expected the SHA-256 of the root in 64 hex digits, as marcher mesh certificate roots says it';
  throw usage(`--mesh-root is "${meshRoot.slice(0, 120)}": ${expected}`);
}

interface Row {
  readonly name: string;
  readonly url: string;
  readonly current: boolean;
  readonly user: string;
  readonly sessionEnds: string;
  readonly certificate: string;
  readonly roots: number;
  readonly session: string;
}

export async function list(
  session: Session,
  options: { readonly output: 'table' | 'json' | 'yaml' },
): Promise<undefined> {
  const book = (await addressBook(process.env)).read();
  const now = Date.now();
  const rows = [...book.targets]
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, target]) => rowOf(name, target, book.current === name, now));
  if (options.output !== 'table') {
    await writeValue(
      session,
      options.output,
      rows.map(({ session: _shown, ...row }) => row),
    );
    return;
  }
  await writeTable(session, columns, rows, 'targets');
}

function rowOf(name: string, target: NamedTarget, current: boolean, now: number): Row {
  const { url, certFile, ca, session } = target;
  const left = session === undefined ? 0 : session.expiresMs - now;
  return {
    name,
    url,
    current,
    user: session?.user ?? '',
    sessionEnds: session === undefined ? '' : new Date(session.endsMs).toISOString(),
    certificate: certFile ?? '',
    roots: (ca?.match(/-----BEGIN CERTIFICATE-----/g) ?? []).length,
    // Unless it is used, and renewed with that.
    session: session === undefined ? '-' : left > 0 ? `${session.user}, idle for ${age(left)} at most` : 'over',
  };
}

const columns: Column<Row>[] = [
  { title: 'USED', value: ({ current }) => (current ? '*' : '') },
  { title: 'NAME', value: ({ name }) => name },
  { title: 'URL', value: ({ url }) => url },
  { title: 'CERTIFICATE', value: ({ certificate }) => certificate || '-' },
  { title: 'SESSION', value: ({ session }) => session },
];

export async function use(session: Session, options: TextOptions, name: string): Promise<undefined> {
  const book = await (await addressBook(process.env)).update((book) => withCurrent(book, name));
  const url = name === LOCAL_NAME ? "this machine's agent" : named(book, name).url;
  if (options.output !== 'text') await writeValue(session, options.output, { name });
  else await session.write(`Commands are for ${printable(name)} from now on: ${url}.\n`);
  if ((process.env['MARCHER_TARGET'] ?? '') !== '') {
    process.stderr.write(
      `MARCHER_TARGET is set to ${printable(process.env['MARCHER_TARGET'] ?? '')}, and goes before it.\n`,
    );
  }
}

export async function remove(session: Session, options: TextOptions, name: string): Promise<undefined> {
  let open = false;
  await (await addressBook(process.env)).update((book) => {
    open = (named(book, name).session?.expiresMs ?? 0) > Date.now();
    return withoutTarget(book, name);
  });
  if (options.output !== 'text') await writeValue(session, options.output, { name });
  else await session.write(`Target ${name} is forgotten.\n`);
  if (open) process.stderr.write('Its session was not ended there: it is over by itself, within 15 minutes.\n');
}

/** A certificate's SHA-256 for --mesh-root, of each in the PEM. */
export function fingerprints(pem: string): string[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  return found.map((each) => new X509Certificate(each).fingerprint256.replaceAll(':', '').toLowerCase());
}
