// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates of operators on other machines: issued, listed, revoked. The key is made here, and is in no message: what
 * goes to the agent is a request that the key has signed.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ClientCertificate, ClientCertificateSchema } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';
import { age, clock, timeMs } from '../output/quantity.js';
import { writeMessages, writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import { type Session, type TargetOptions, wholeNumber } from '../session.js';
import { writeTable } from './get.js';
import { asked } from './mesh.js';
import { fingerprints } from './targets.js';

type TextOptions = TargetOptions & { readonly output: 'text' | 'json' | 'yaml' };

/** What an agent accepts, so that no name leads out of the directory. */
const USER = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const DAYS_MAX = 365;

export async function issue(
  session: Session,
  options: TextOptions & { readonly days: string; readonly out: string },
  user: string,
): Promise<undefined> {
  const days = wholeNumber(options.days, '--days', 1, DAYS_MAX);
  if (!USER.test(user)) {
    throw usage(
      `the user is ${JSON.stringify(user.slice(0, 80))}: expected 1 to 64 of a-z, 0-9, ".", "_" and "-", the first a letter or a digit`,
    );
  }
  const files = filesOf(options.out, user);
  writing(options.out, () => mkdirSync(options.out, { recursive: true, mode: 0o700 }));
  for (const path of [files.key, files.certificate]) {
    if (existsSync(path)) throw new Failure(ExitCode.error, `${path} exists: move it away, or choose --out DIR`);
  }
  const { createCertificateRequest } = await import('@marcher/client/certificate-request');
  const { privateKeyPem, request } = await createCertificateRequest();
  // First, so that nothing is issued whose key could not be kept.
  writing(files.key, () => writeFileSync(files.key, privateKeyPem, { mode: 0o600, flag: 'wx' }));
  try {
    const agent = await session.agent(options);
    const call = agent.mesh.issueClientCertificate({ user, certificateRequest: request, days }, session.call(options));
    const { certificate, roots, details } = await asked(call);
    writing(files.certificate, () => writeFileSync(files.certificate, certificate, { mode: 0o644, flag: 'wx' }));
    const ca = writing(files.ca, () => writeRoots(files.ca, roots));
    await tell(session, options, user, details, { ...files, ca });
  } catch (error) {
    if (!existsSync(files.certificate)) rmSync(files.key, { force: true });
    throw error;
  }
}

function writing<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    throw new Failure(ExitCode.error, `can't write ${path}: ${(error as Error).message}`);
  }
}

interface Files {
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
}

function filesOf(directory: string, user: string): Files {
  return {
    key: join(directory, `${user}.key`),
    certificate: join(directory, `${user}.crt`),
    ca: join(directory, 'ca.crt'),
  };
}

/** Of another mesh's there stay as they are. Where they were written. */
function writeRoots(path: string, roots: string): string {
  try {
    writeFileSync(path, roots, { mode: 0o644, flag: 'wx' });
    return path;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (readFileSync(path, 'utf8') === roots) return path;
    process.stderr.write(`${path} has other roots, and stays as it is: marcher mesh certificate roots prints these\n`);
    return path;
  }
}

async function tell(
  session: Session,
  options: TextOptions,
  user: string,
  details: ClientCertificate | undefined,
  { certificate, key, ca }: Files,
): Promise<void> {
  const serial = details?.serial ?? '';
  const expires = clock(timeMs(details?.expires));
  if (options.output !== 'text') {
    await writeValue(session, options.output, { user, serial, expires, certificate, key, ca });
    return;
  }
  await session.write(`Issued to ${user} until ${expires}: ${certificate}, ${key}, ${ca}\n`);
  process.stderr.write(
    'There, at an agent that was started with --api:\n' +
      `  marcher -t https://HOST:PORT --ca-file ${ca} --cert-file ${certificate} --key-file ${key} status\n` +
      `Take it back: marcher mesh certificate revoke ${printable(serial)}\n`,
  );
}

export async function list(
  session: Session,
  options: TargetOptions & { readonly output: 'table' | 'json' | 'yaml' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const { certificates } = await agent.mesh.listClientCertificates({}, session.call(options));
  if (await writeMessages(session, options, ClientCertificateSchema, certificates)) return;
  await writeTable(session, columns(session), certificates, 'client certificates');
}

function columns({ style }: Session): Column<ClientCertificate>[] {
  const now = Date.now();
  return [
    { title: 'SERIAL', value: ({ serial }) => serial },
    { title: 'USER', value: ({ user }) => user },
    {
      title: 'STATE',
      value: (certificate) => stateText(certificate, now),
      paint: (text) => (text.startsWith('valid') ? style.green(text) : text),
    },
    { title: 'ISSUED', value: ({ created }) => clock(timeMs(created)) },
    { title: 'BY', value: ({ issuedBy }) => issuedBy || '-' },
  ];
}

function stateText({ revoked, expires }: ClientCertificate, now: number): string {
  if (revoked !== undefined) return 'revoked';
  const left = (timeMs(expires) ?? now) - now;
  return left > 0 ? `valid for ${age(left)}` : 'expired';
}

export async function revoke(session: Session, options: TextOptions, serial: string): Promise<undefined> {
  const agent = await session.agent(options);
  await asked(agent.mesh.revokeClientCertificate({ serial }, session.call(options)));
  if (options.output === 'text')
    await session.write(`Nobody is let in by certificate ${printable(serial)} any more.\n`);
  else await writeValue(session, options.output, { serial });
}

/** PEM, for --ca-file. */
export async function roots(session: Session, options: TargetOptions): Promise<undefined> {
  const agent = await session.agent(options);
  const { roots: pem } = await agent.mesh.listRoots({}, session.call(options));
  await session.write(pem);
  for (const fingerprint of fingerprints(pem)) process.stderr.write(`SHA-256, for --mesh-root: ${fingerprint}\n`);
}
