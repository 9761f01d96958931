// SPDX-License-Identifier: Apache-2.0
/** Certificates of services: listed, shown, issued, renewed, revoked, deleted. */
import {
  type Certificate,
  CertificateSchema,
  CertificateSource,
  CertificateUsage,
  RevocationReason,
} from '@marcher/proto/marcher/v1/certificate_service_pb';
import { confirm } from '../confirm.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { age, clock, timeMs } from '../output/quantity.js';
import { writeMessage, writeMessages, writeValue } from '../output/structured.js';
import { printable, type Style } from '../output/style.js';
import type { Column } from '../output/table.js';
import { type Session, type TargetOptions, wholeNumber } from '../session.js';
import { writeTable } from './get.js';
import { asked } from './mesh.js';
import type { TextOptions } from './users.js';

const DAYS_MAX = 365;
/** The rest is only counted. */
const NAMES_SHOWN = 2;
const SOON_MS = 14 * 86_400_000;

const usages: Readonly<Record<string, CertificateUsage>> = {
  server: CertificateUsage.SERVER,
  client: CertificateUsage.CLIENT,
  both: CertificateUsage.BOTH,
};
const reasons: Readonly<Record<string, RevocationReason>> = {
  unspecified: RevocationReason.UNSPECIFIED,
  'key-compromise': RevocationReason.KEY_COMPROMISE,
  superseded: RevocationReason.SUPERSEDED,
  'cessation-of-operation': RevocationReason.CESSATION_OF_OPERATION,
  'privilege-withdrawn': RevocationReason.PRIVILEGE_WITHDRAWN,
};

export async function list(
  session: Session,
  options: TargetOptions & { readonly output: 'table' | 'wide' | 'json' | 'yaml' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const { certificates } = await agent.certificates.listCertificates({}, session.call(options));
  const end = ({ notAfter }: Certificate): number => timeMs(notAfter) ?? 0;
  const sorted = [...certificates].sort((one, other) => end(one) - end(other));
  if (await writeMessages(session, options, CertificateSchema, sorted)) return;
  await writeTable(session, columns(session.style, options.output === 'wide'), sorted, 'certificates of services');
}

function columns(style: Style, wide: boolean): Column<Certificate>[] {
  const now = Date.now();
  const painted = (text: string): string => {
    if (text === 'valid') return style.green(text);
    return text.startsWith('ends') ? style.yellow(text) : style.red(text);
  };
  const some: Column<Certificate>[] = [
    { title: 'NAME', value: ({ name }) => name },
    { title: 'STATE', value: (certificate) => stateText(certificate, now), paint: painted },
    { title: 'LEFT', value: ({ notAfter }) => leftText(timeMs(notAfter), now) },
    { title: 'RENEWS', value: ({ renews }) => (renews === undefined ? 'never' : clock(timeMs(renews)).slice(0, 10)) },
    { title: 'SOURCE', value: ({ source }) => sourceText(source) },
    { title: 'NAMES', value: ({ names }) => namesText(names, wide ? names.length : NAMES_SHOWN) },
  ];
  if (!wide) return some;
  return [
    ...some,
    { title: 'USAGE', value: ({ usage }) => usageText(usage) },
    { title: 'KEY', value: ({ keyType, keyAvailable }) => `${keyType}${keyAvailable ? '' : ' (not here)'}` },
    { title: 'ENDS', value: ({ notAfter }) => clock(timeMs(notAfter)) },
    { title: 'SERIAL', value: ({ serial }) => serial },
    { title: 'ISSUER', value: ({ issuer }) => issuer },
    { title: 'BY', value: ({ writtenBy }) => writtenBy || '-' },
  ];
}

export async function show(session: Session, options: TextOptions, name: string): Promise<undefined> {
  const agent = await session.agent(options);
  const answer = await asked(agent.certificates.getCertificate({ name }, session.call(options)));
  const certificate = certificateOf(answer);
  if (await writeMessage(session, options, CertificateSchema, certificate)) return;
  const now = Date.now();
  const { source, usage, names, serial, fingerprint, issuer, keyType, keyAvailable, renews, written, writtenBy } =
    certificate;
  const until = timeMs(certificate.notAfter);
  const lines: [string, string][] = [
    ['Certificate', `${certificate.name}, ${sourceText(source)}, for ${usageText(usage)}`],
    ['State', stateText(certificate, now)],
    ['Names', names.join(', ') || '-'],
    ['Valid', `${clock(timeMs(certificate.notBefore))} to ${clock(until)}, ${leftText(until, now)} left`],
    ['Renewed', renews === undefined ? 'not by itself' : `at ${clock(timeMs(renews))}`],
    ['Issuer', issuer],
    ['Serial', serial],
    ['SHA-256', fingerprint],
    ['Key', `${keyType}${keyAvailable ? '' : ', which this node can not open yet'}`],
    ['Written', `${clock(timeMs(written))} by ${writtenBy || '-'}`],
  ];
  await session.write(lines.map(([what, text]) => `${what.padEnd(12)}${printable(text)}\n`).join(''));
}

export async function issue(
  session: Session,
  options: TextOptions & { readonly san: readonly string[]; readonly days: string; readonly usage: string },
  name: string,
): Promise<undefined> {
  const days = wholeNumber(options.days, '--days', 1, DAYS_MAX);
  const agent = await session.agent(options);
  const usage = usages[options.usage] ?? CertificateUsage.SERVER;
  const request = { name, names: [...options.san], days, usage };
  const certificate = certificateOf(await asked(agent.certificates.issueCertificate(request, session.call(options))));
  await tellWritten(session, options, 'Issued', certificate);
}

export async function renew(
  session: Session,
  options: TextOptions & { readonly revoke?: string },
  name: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  const revoke = options.revoke;
  const reason = reasons[revoke ?? ''] ?? RevocationReason.UNSPECIFIED;
  const request = { name, revokeEarlier: revoke !== undefined, reason };
  const certificate = certificateOf(await asked(agent.certificates.renewCertificate(request, session.call(options))));
  await tellWritten(
    session,
    options,
    revoke === undefined ? 'Renewed' : 'Renewed, and revoked what was before,',
    certificate,
  );
}

export async function revoke(
  session: Session,
  options: TextOptions & { readonly reason: string; readonly yes?: boolean },
  name: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  if (options.yes !== true) {
    const instead = 'To have another in its place at once: marcher certificate renew NAME --revoke.';
    await confirm(`Revoke certificate ${name}, and take it away from programs on all nodes? ${instead} Revoke?`);
  }
  const reason = reasons[options.reason] ?? RevocationReason.UNSPECIFIED;
  const call = agent.certificates.revokeCertificate({ name, reason }, session.call(options));
  const certificate = certificateOf(await asked(call));
  if (await writeMessage(session, options, CertificateSchema, certificate)) return;
  await session.write(`Certificate ${printable(name)} is revoked (serial ${certificate.serial}).\n`);
  process.stderr.write(`Another in its place: marcher certificate renew ${printable(name)}\n`);
}

export async function remove(
  session: Session,
  options: TextOptions & { readonly yes?: boolean },
  name: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  if (options.yes !== true) {
    await confirm(`Delete certificate ${name} and its key at all nodes, and from the directories of their programs?`);
  }
  await asked(agent.certificates.deleteCertificate({ name }, session.call(options)));
  if (options.output === 'text') await session.write(`Certificate ${printable(name)} and its key are deleted.\n`);
  else await writeValue(session, options.output, { name });
}

export async function tellWritten(
  session: Session,
  options: TextOptions,
  what: string,
  certificate: Certificate,
): Promise<void> {
  if (await writeMessage(session, options, CertificateSchema, certificate)) return;
  const { name, names, notAfter } = certificate;
  const until = clock(timeMs(notAfter));
  await session.write(`${what} ${printable(name)} for ${printable(namesText(names, NAMES_SHOWN))}, until ${until}.\n`);
}

export function certificateOf({ certificate }: { readonly certificate?: Certificate | undefined }): Certificate {
  if (certificate !== undefined) return certificate;
  throw new Failure(ExitCode.error, 'the agent has answered without a certificate: is it of another version?');
}

function stateText({ revoked, notAfter, notBefore, renews }: Certificate, now: number): string {
  if (revoked !== undefined) return 'revoked';
  const end = timeMs(notAfter) ?? 0;
  if (end < now) return 'expired';
  if ((timeMs(notBefore) ?? 0) > now) return 'not yet valid';
  return renews === undefined && end < now + SOON_MS ? 'ends soon' : 'valid';
}

function leftText(end: number | undefined, now: number): string {
  return end === undefined || end < now ? '-' : age(end - now);
}

function namesText(names: readonly string[], count: number): string {
  const more = names.length - count;
  return `${names.slice(0, count).join(', ') || '-'}${more > 0 ? ` and ${more} more` : ''}`;
}

function sourceText(source: CertificateSource): string {
  if (source === CertificateSource.ISSUED) return 'issued';
  return source === CertificateSource.IMPORTED ? 'imported' : 'unknown';
}

function usageText(usage: CertificateUsage): string {
  if (usage === CertificateUsage.BOTH) return 'servers and clients';
  if (usage === CertificateUsage.SERVER) return 'servers';
  return usage === CertificateUsage.CLIENT ? 'clients' : 'neither servers nor clients';
}
