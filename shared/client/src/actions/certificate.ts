// SPDX-License-Identifier: Apache-2.0
/** Certificates of services: issued, imported, renewed, revoked, deleted. Each is looked at again before, by its fingerprint. */
import {
  type Certificate,
  CertificateSource,
  CertificateUsage,
  RevocationReason,
} from '@marcher/proto/marcher/v1/certificate_service_pb';
import { AgentError } from '../agent-error.js';
import type { AgentCalls } from '../fleet/contract.js';
import { type CommandTarget, commandLine } from './command.js';
import { byTyping, changedSince, type Deed, goneSince, plainly, within } from './deed.js';

/** As `marcher certificate issue --usage` takes them. */
export const CERTIFICATE_USAGES = {
  server: CertificateUsage.SERVER,
  client: CertificateUsage.CLIENT,
  both: CertificateUsage.BOTH,
} as const;
export type CertificateUsageWord = keyof typeof CERTIFICATE_USAGES;

/** As `marcher certificate revoke --reason` takes them. */
export const REVOCATION_REASONS = {
  unspecified: RevocationReason.UNSPECIFIED,
  'key-compromise': RevocationReason.KEY_COMPROMISE,
  superseded: RevocationReason.SUPERSEDED,
  'cessation-of-operation': RevocationReason.CESSATION_OF_OPERATION,
  'privilege-withdrawn': RevocationReason.PRIVILEGE_WITHDRAWN,
} as const;
export type RevocationReasonWord = keyof typeof REVOCATION_REASONS;

export interface Issue {
  readonly name: string;
  /** DNS names and IP addresses. */
  readonly names: readonly string[];
  /** 1 to 365. */
  readonly days: number;
  readonly usage: CertificateUsageWord;
}

export function issueCertificate(calls: AgentCalls, { name, names, days, usage }: Issue): Deed {
  const title = `issue certificate ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: [
      `The mesh's CA signs one for ${names.join(', ')}, good for ${days} days; at half of that another takes its place by itself.`,
      'It and its key are kept by all nodes of the mesh.',
    ],
    lasting: undefined,
    apply: async (signal) => {
      const request = { name, names: [...names], days, usage: CERTIFICATE_USAGES[usage] };
      const { certificate } = await calls.certificates.issueCertificate(request, within(signal));
      const undo = forgetIssued(calls, name, certificate?.fingerprint ?? '');
      return { text: `Certificate ${name} is issued, serial ${certificate?.serial ?? '?'}.`, undo };
    },
    asCommand: (target) =>
      commandLine(target ?? {}, [
        'certificate',
        'issue',
        name,
        ...names.flatMap((each) => ['--san', each]),
        '--days',
        String(days),
        '--usage',
        usage,
      ]),
  };
}

/** Of one that was issued a moment ago: a deletion alone would leave it good for whoever has it. */
function forgetIssued(calls: AgentCalls, name: string, fingerprint: string): Deed {
  const title = `revoke and delete certificate ${name}`;
  const reason = 'cessation-of-operation';
  return {
    title,
    confirmation: plainly(title),
    consequences: ['It is revoked, then forgotten with its key at all nodes.'],
    lasting: 'Another has to be issued.',
    apply: async (signal) => {
      await asSeen(calls, name, fingerprint, signal);
      await calls.certificates.revokeCertificate({ name, reason: REVOCATION_REASONS[reason] }, within(signal));
      await calls.certificates.deleteCertificate({ name }, within(signal));
      return { text: `Certificate ${name} is revoked and deleted.` };
    },
    asCommand: (target = {}) =>
      [
        commandLine(target, ['certificate', 'revoke', name, '--reason', reason, '-y']),
        commandLine(target, ['certificate', 'delete', name, '-y']),
      ].join('\n'),
  };
}

export interface Import {
  readonly name: string;
  /** PEM: the certificate, then each one's issuer. */
  readonly chain: string;
  /** PEM or DER, without a passphrase. */
  readonly privateKey: Uint8Array<ArrayBuffer>;
  readonly replace: boolean;
  /** For the command line: where they are on the operator's machine. */
  readonly files?: { readonly chain: string; readonly privateKey: string };
}

export function importCertificate(calls: AgentCalls, given: Import): Deed {
  const { name, chain, privateKey, replace, files } = given;
  const title = replace ? `replace certificate ${name}` : `import certificate ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: [
      'It and its key are kept by all nodes of the mesh. It is not renewed by itself.',
      ...(replace ? ['The one that is there now goes, with its key; it stays good for whoever has it.'] : []),
    ],
    lasting: replace ? 'The key before is kept nowhere: import that again to go back.' : undefined,
    apply: async (signal) => {
      const { certificate } = await calls.certificates.importCertificate(
        { name, chain, privateKey, replace },
        within(signal),
      );
      const text = `Certificate ${name} is imported, for ${certificate?.names.join(', ') ?? 'no name'}.`;
      if (replace || certificate === undefined) return { text };
      return { text, undo: deleteCertificate(calls, certificate) };
    },
    asCommand: (target = {}) =>
      commandLine(target, [
        'certificate',
        'import',
        name,
        '--certificate',
        files?.chain ?? 'fullchain.pem',
        '--private-key',
        files?.privateKey ?? 'privkey.pem',
        ...(replace ? ['--replace'] : []),
      ]),
  };
}

/** revoke: those before it, too, for this reason. */
export function renewCertificate(
  calls: AgentCalls,
  { name, fingerprint }: Seen,
  revoke: RevocationReasonWord | undefined,
): Deed {
  const title = `renew certificate ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: [
      'Another key and certificate for the same names come in its place now, at all nodes.',
      revoke === undefined
        ? 'The one before stays good until its end.'
        : 'The one before, and those before that, are revoked.',
    ],
    lasting: 'The key before is kept nowhere.',
    apply: async (signal) => {
      await asSeen(calls, name, fingerprint, signal);
      const request = {
        name,
        revokeEarlier: revoke !== undefined,
        reason: REVOCATION_REASONS[revoke ?? 'unspecified'],
      };
      const { certificate } = await calls.certificates.renewCertificate(request, within(signal));
      return { text: `Certificate ${name} has another key, serial ${certificate?.serial ?? '?'}.` };
    },
    asCommand: (target = {}) =>
      commandLine(target, ['certificate', 'renew', name, ...(revoke === undefined ? [] : ['--revoke', revoke])]),
  };
}

export function revokeCertificate(calls: AgentCalls, { name, fingerprint }: Seen, reason: RevocationReasonWord): Deed {
  const title = `revoke certificate ${name}`;
  return {
    title,
    confirmation: byTyping(title, name),
    consequences: [
      'It, and those before it under its name, stand in the revocation lists of the mesh from now on.',
      'Nodes take it away from their programs, which have none then. To have another in its place at once, renew it and revoke those before.',
    ],
    lasting: 'A certificate that was revoked stays so: renew it to have another.',
    apply: async (signal) => {
      await asSeen(calls, name, fingerprint, signal);
      await calls.certificates.revokeCertificate({ name, reason: REVOCATION_REASONS[reason] }, within(signal));
      return { text: `Certificate ${name} is revoked.` };
    },
    asCommand: (target = {}) => commandLine(target, ['certificate', 'revoke', name, '--reason', reason, '-y']),
  };
}

export function deleteCertificate(calls: AgentCalls, { name, fingerprint, source }: Seen): Deed {
  const title = `delete certificate ${name}`;
  return {
    title,
    confirmation: byTyping(title, name),
    consequences: [
      'It is forgotten at all nodes, with its key, and taken out of the directories of their programs.',
      'It stays good for whoever has it, until it ends or is revoked.',
    ],
    lasting:
      source === CertificateSource.ISSUED
        ? 'Its key is gone: issue another for the same names.'
        : 'Its key is gone: import it again from where it came from.',
    apply: async (signal) => {
      await asSeen(calls, name, fingerprint, signal);
      await calls.certificates.deleteCertificate({ name }, within(signal));
      return { text: `Certificate ${name} and its key are deleted.` };
    },
    asCommand: (target: CommandTarget = {}) => commandLine(target, ['certificate', 'delete', name, '-y']),
  };
}

/** What the person has looked at. */
type Seen = Pick<Certificate, 'name' | 'fingerprint' | 'source'>;

async function asSeen(calls: AgentCalls, name: string, fingerprint: string, signal: AbortSignal | undefined) {
  try {
    const { certificate } = await calls.certificates.getCertificate({ name }, within(signal));
    if (certificate?.fingerprint !== fingerprint) throw changedSince(`certificate ${name}`);
  } catch (error) {
    if (error instanceof AgentError && error.code === 'not_found') throw goneSince(`certificate ${name}`);
    throw error;
  }
}
