// SPDX-License-Identifier: Apache-2.0
/** Certificates of services: issued, imported, renewed, revoked, deleted. */
import { commandLine } from '@marcher/client/actions';
import {
  type Certificate,
  CertificateSource,
  CertificateUsage,
  RevocationReason,
} from '@marcher/proto/marcher/v1/certificate_service_pb';
import { openKey, readCertificates } from '../../cli/commands/certificate-input.js';
import { clock, timeMs } from '../../cli/output/quantity.js';
import type { Values } from '../store/form.js';
import { type Deed, Faulty, NO_UNDO, nameOf, wordsOf } from './deed.js';

const USAGES: Readonly<Record<string, CertificateUsage>> = {
  ...{ server: CertificateUsage.SERVER, client: CertificateUsage.CLIENT, both: CertificateUsage.BOTH },
};
const REASONS: Readonly<Record<string, RevocationReason>> = {
  unspecified: RevocationReason.UNSPECIFIED,
  'key-compromise': RevocationReason.KEY_COMPROMISE,
  superseded: RevocationReason.SUPERSEDED,
  'cessation-of-operation': RevocationReason.CESSATION_OF_OPERATION,
  'privilege-withdrawn': RevocationReason.PRIVILEGE_WITHDRAWN,
};
const DAYS_MAX = 365;
const NAMES_MAX = 100;

const issue: Deed = {
  ...{ command: 'new', subject: 'certificate', isOfNone: true },
  help: "have the mesh's CA issue one",
  form: () => ({
    title: "Have the mesh's CA issue a certificate",
    fields: [
      { kind: 'text', name: 'name', label: 'name', hint: '1 to 63 of a-z, 0-9 and -' },
      { kind: 'text', name: 'san', label: 'for', hint: 'DNS names, such as *.example.org, and IP addresses' },
      {
        kind: 'text',
        name: 'days',
        label: 'days',
        value: '365',
        hint: 'how long each lasts, 1 to 365; at half of that comes the next',
      },
      { kind: 'choice', name: 'usage', label: 'usage', choices: Object.keys(USAGES), hint: 'whom it is for' },
    ],
  }),
  plan: (_items, values, { calls, target }) => {
    const name = nameOf(values);
    const names = wordsOf(values['san']);
    if (names.length === 0 || names.length > NAMES_MAX)
      throw new Faulty(`expected 1 to ${NAMES_MAX} names that it is for`);
    const days = Number(values['days']);
    if (!Number.isInteger(days) || days < 1 || days > DAYS_MAX)
      throw new Faulty(`days is "${values['days']}": expected 1 to ${DAYS_MAX}`);
    const usage = values['usage'] ?? 'server';
    return {
      question: `Issue certificate ${name}?`,
      lines: [
        `For ${names.join(', ')}; ${days} days, renewed by itself at half of them.`,
        'All nodes of the mesh have it then, with its key. :delete takes it away again.',
      ],
      commands: [
        commandLine(target, [
          ...['certificate', 'issue', name, ...names.flatMap((each) => ['--san', each])],
          ...['--days', String(days), '--usage', usage],
        ]),
      ],
      apply: async (call) => {
        const request = { name, names, days, usage: USAGES[usage] ?? CertificateUsage.SERVER };
        const { certificate } = await calls.certificates.issueCertificate(request, call);
        return { text: `Issued ${name}, until ${clock(timeMs(certificate?.notAfter))}. :delete takes it away again.` };
      },
    };
  },
};

const bring: Deed = {
  ...{ command: 'import', subject: 'certificate', isOfNone: true },
  help: 'bring one from files, with its key',
  form: (items) => ({
    title: 'Import a certificate and its key from files of this machine',
    fields: [
      {
        kind: 'text',
        name: 'name',
        label: 'name',
        value: imported(items)?.name ?? '',
        hint: '1 to 63 of a-z, 0-9 and -',
      },
      {
        kind: 'text',
        name: 'certificate',
        label: 'certificate',
        hint: 'file: the certificate, and those of its issuers; PEM or DER',
      },
      { kind: 'text', name: 'key', label: 'private key', hint: 'file: its private key; PEM or DER' },
      {
        kind: 'text',
        name: 'chain',
        label: 'chain',
        hint: 'file: certificates of its issuers, where they are not with it; or nothing',
      },
      { kind: 'secret', name: 'passphrase', label: 'passphrase', hint: 'that opens the key; or nothing' },
      {
        kind: 'choice',
        name: 'replace',
        label: 'replace',
        choices: ['no', 'yes'],
        hint: 'in the place of an imported one of that name',
      },
    ],
  }),
  plan: (_items, values, { calls, target }) => {
    const name = nameOf(values);
    const file = (field: string): string => (values[field] ?? '').trim();
    const [certificate, key, chain] = [file('certificate'), file('key'), file('chain')];
    if (certificate === '' || key === '')
      throw new Faulty('expected a file with the certificate, and one with its key');
    const replace = values['replace'] === 'yes';
    const read = (): { readonly chain: string; readonly privateKey: Uint8Array } => {
      try {
        // A full chain beside a chain file is no fault: each is sent once.
        const blocks = [...new Set([certificate, ...(chain === '' ? [] : [chain])].flatMap(readCertificates))];
        const passphrase = values['passphrase'] ?? '';
        const opened = openKey(key, passphrase === '' ? undefined : passphrase);
        return {
          chain: `${blocks.join('\n')}\n`,
          privateKey: new Uint8Array(opened.export({ format: 'der', type: 'pkcs8' })),
        };
      } catch (error) {
        throw new Faulty((error as Error).message);
      }
    };
    // Now, so that what is wrong with the files is said in the form; again when it is done: no key waits in memory for an answer.
    read().privateKey.fill(0);
    return {
      question: `Import certificate ${name}${replace ? ', in the place of the one before' : ''}?`,
      lines: [
        'All nodes of the mesh have it then, with its key. It is not renewed by itself.',
        replace ? `What was there before is gone. ${NO_UNDO}` : ':delete takes it away again.',
      ],
      commands: [
        commandLine(target, [
          ...['certificate', 'import', name, '--certificate', certificate, '--private-key', key],
          ...(chain === '' ? [] : ['--chain', chain]),
          ...(replace ? ['--replace'] : []),
        ]),
      ],
      ...(replace ? { word: name } : {}),
      apply: async (call) => {
        const request = read();
        try {
          const answer = await calls.certificates.importCertificate({ name, replace, ...request }, call);
          return { text: `Imported ${name}, until ${clock(timeMs(answer.certificate?.notAfter))}.` };
        } finally {
          request.privateKey.fill(0);
        }
      },
    };
  },
};

function imported(items: readonly object[]): Certificate | undefined {
  const [one] = items as readonly Certificate[];
  return one?.source === CertificateSource.IMPORTED ? one : undefined;
}

const NOT_EARLIER = 'no';

const renew: Deed = {
  ...{ command: 'renew', subject: 'certificate', help: 'give it another key and certificate now' },
  form: (items) => ({
    title: `Renew certificate ${one(items).name}`,
    fields: [
      {
        ...{ kind: 'choice', name: 'revoke', label: 'revoke earlier', choices: [NOT_EARLIER, ...Object.keys(REASONS)] },
        hint: 'and revoke those before it, for that reason',
      },
    ],
  }),
  plan: (items, values, { calls, target }) => {
    const { name } = one(items);
    const why = values['revoke'] ?? NOT_EARLIER;
    const revokes = why !== NOT_EARLIER;
    return {
      question: `Renew certificate ${name}${revokes ? ', and revoke those before it' : ''}?`,
      lines: [
        'All nodes get another key and certificate for the same names.',
        revokes ? `Those before it are good for nobody then (${why}).` : 'The one before stays good until it ends.',
        NO_UNDO,
      ],
      commands: [commandLine(target, ['certificate', 'renew', name, ...(revokes ? ['--revoke', why] : [])])],
      ...(revokes ? { word: name } : {}),
      apply: async (call) => {
        const request = { name, revokeEarlier: revokes, reason: REASONS[why] ?? RevocationReason.UNSPECIFIED };
        const { certificate } = await calls.certificates.renewCertificate(request, call);
        return { text: `Renewed ${name}, until ${clock(timeMs(certificate?.notAfter))}.` };
      },
    };
  },
};

const revoke: Deed = {
  ...{ command: 'revoke', subject: 'certificate', help: 'revoke it: nobody is to trust it any more' },
  form: (items) => ({
    title: `Revoke certificate ${one(items).name}`,
    fields: [
      {
        kind: 'choice',
        name: 'reason',
        label: 'reason',
        choices: Object.keys(REASONS),
        hint: 'as it stands in the revocation lists',
      },
    ],
  }),
  plan: (items, values: Values, { calls, target }) => {
    const { name } = one(items);
    const reason = values['reason'] ?? 'unspecified';
    return {
      question: `Revoke certificate ${name}?`,
      lines: [
        'It and those before it go into the revocation lists, and nodes take it away from their programs.',
        ':renew gives another in its place, and can revoke at the same time: then nothing stands still.',
        NO_UNDO,
      ],
      commands: [commandLine(target, ['certificate', 'revoke', name, '--reason', reason, '-y'])],
      word: name,
      apply: async (call) => {
        await calls.certificates.revokeCertificate(
          { name, reason: REASONS[reason] ?? RevocationReason.UNSPECIFIED },
          call,
        );
        return { text: `Certificate ${name} is revoked. :renew gives another in its place.` };
      },
    };
  },
};

const remove: Deed = {
  ...{ command: 'delete', subject: 'certificate', help: 'forget it and its key at all nodes' },
  plan: (items, _values, { calls, target }) => {
    const { name } = one(items);
    return {
      question: `Delete certificate ${name} and its key?`,
      lines: [
        'At all nodes, and from the directories of their programs. It stays good for whoever has it: :revoke ends that.',
        NO_UNDO,
      ],
      commands: [commandLine(target, ['certificate', 'delete', name, '-y'])],
      word: name,
      apply: async (call) => {
        await calls.certificates.deleteCertificate({ name }, call);
        return { text: `Certificate ${name} and its key are deleted.` };
      },
    };
  },
};

function one(items: readonly object[]): Certificate {
  return items[0] as Certificate;
}

export const certificateDeeds: readonly Deed[] = [issue, bring, renew, revoke, remove];
