// SPDX-License-Identifier: Apache-2.0
/** Certificates of services: issued, imported, renewed, revoked, deleted. */
import {
  CERTIFICATE_USAGES,
  type CertificateUsageWord,
  deleteCertificate,
  importCertificate,
  issueCertificate,
  REVOCATION_REASONS,
  type RevocationReasonWord,
  renewCertificate,
  revokeCertificate,
} from '@marcher/client/actions';
import { type Certificate, CertificateSource } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { openKey, readCertificates } from '../../cli/commands/certificate-input.js';
import { type Deed, Faulty, nameOf, numberOf, planOf, wordsOf } from './deed.js';

const USAGES = Object.keys(CERTIFICATE_USAGES) as CertificateUsageWord[];
const REASONS = Object.keys(REVOCATION_REASONS) as RevocationReasonWord[];
const DAYS_MAX = 365;
const NAMES_MAX = 100;

const chosen = (items: readonly object[]): Certificate => items[0] as Certificate;

/** What both files say. The key is only as long in memory as whoever asks needs it. */
function read(certificate: string, key: string, chain: string, passphrase: string) {
  try {
    // A full chain beside a chain file is no fault: each is sent once.
    const blocks = [...new Set([certificate, ...(chain === '' ? [] : [chain])].flatMap(readCertificates))];
    const opened = openKey(key, passphrase === '' ? undefined : passphrase);
    return {
      chain: `${blocks.join('\n')}\n`,
      privateKey: new Uint8Array(opened.export({ format: 'der', type: 'pkcs8' })),
    };
  } catch (error) {
    throw new Faulty((error as Error).message);
  }
}

export const certificateDeeds: readonly Deed[] = [
  {
    ...{ command: 'new', subject: 'certificate', isOfNone: true, help: "have the mesh's CA issue one" },
    form: () => ({
      title: "Have the mesh's CA issue a certificate",
      fields: [
        { kind: 'text', name: 'name', label: 'name', hint: '1 to 63 of a-z, 0-9 and -' },
        { kind: 'text', name: 'san', label: 'for', hint: 'DNS names, such as *.example.org, and IP addresses' },
        {
          ...{ kind: 'text', name: 'days', label: 'days', value: '365' },
          hint: `how long each lasts, 1 to ${DAYS_MAX}; at half of that comes the next`,
        },
        { kind: 'choice', name: 'usage', label: 'usage', choices: USAGES, hint: 'whom it is for' },
      ],
    }),
    plan: (_items, values, { calls, target }) => {
      const names = wordsOf(values['san']);
      if (names.length === 0 || names.length > NAMES_MAX)
        throw new Faulty(`expected 1 to ${NAMES_MAX} names that it is for`);
      const days = numberOf(values['days'], 'days', 1, DAYS_MAX);
      const usage = USAGES.find((each) => each === values['usage']) ?? 'server';
      return planOf(issueCertificate(calls, { name: nameOf(values), names, days, usage }), target);
    },
  },
  {
    ...{ command: 'import', subject: 'certificate', isOfNone: true, help: 'bring one from files, with its key' },
    form: (items) => ({
      title: 'Import a certificate and its key from files of this machine',
      fields: [
        {
          ...{ kind: 'text', name: 'name', label: 'name', hint: '1 to 63 of a-z, 0-9 and -' },
          value: items.length === 1 && chosen(items).source === CertificateSource.IMPORTED ? chosen(items).name : '',
        },
        {
          ...{ kind: 'text', name: 'certificate', label: 'certificate' },
          hint: 'file: the certificate, and those of its issuers; PEM or DER',
        },
        { kind: 'text', name: 'key', label: 'private key', hint: 'file: its private key; PEM or DER' },
        {
          ...{ kind: 'text', name: 'chain', label: 'chain' },
          hint: 'file: certificates of its issuers, where they are not with it; or nothing',
        },
        { kind: 'secret', name: 'passphrase', label: 'passphrase', hint: 'that opens the key; or nothing' },
        {
          ...{ kind: 'choice', name: 'replace', label: 'replace', choices: ['no', 'yes'] },
          hint: 'in the place of an imported one of that name',
        },
      ],
    }),
    plan: (_items, values, { calls, target }) => {
      const name = nameOf(values);
      const [certificate = '', key = '', chain = ''] = ['certificate', 'key', 'chain'].map((each) =>
        values[each]?.trim(),
      );
      if (certificate === '' || key === '')
        throw new Faulty('expected a file with the certificate, and one with its key');
      const replace = values['replace'] === 'yes';
      const files = { chain: certificate, privateKey: key };
      const again = (): ReturnType<typeof read> => read(certificate, key, chain, values['passphrase'] ?? '');
      // Now, so that what is wrong with the files is said in the form; again when it is done: no key waits for an answer.
      const { chain: blocks, privateKey: seen } = again();
      seen.fill(0);
      const shown = planOf(importCertificate(calls, { name, chain: blocks, privateKey: seen, replace, files }), target);
      return {
        ...shown,
        // The command takes the chain by a word of its own.
        commands: shown.commands.map((line) =>
          chain === '' ? line : `${line} --chain '${chain.replaceAll("'", "'\\''")}'`,
        ),
        ...(replace ? { word: name } : {}),
        apply: async (call) => {
          const { chain: sent, privateKey } = again();
          try {
            const write = importCertificate(calls, { name, chain: sent, privateKey, replace, files });
            return await planOf(write, target).apply(call);
          } finally {
            privateKey.fill(0);
          }
        },
      };
    },
  },
  {
    ...{ command: 'renew', subject: 'certificate', help: 'give it another key and certificate now' },
    form: (items) => ({
      title: `Renew certificate ${chosen(items).name}`,
      fields: [
        {
          ...{ kind: 'choice', name: 'revoke', label: 'revoke earlier', choices: ['no', ...REASONS] },
          hint: 'and revoke those before it, for that reason',
        },
      ],
    }),
    plan: (items, values, { calls, target }) => {
      const reason = REASONS.find((each) => each === values['revoke']);
      const plan = planOf(renewCertificate(calls, chosen(items), reason), target);
      // Whoever has the one before is refused by it.
      return reason === undefined ? plan : { ...plan, word: chosen(items).name };
    },
  },
  {
    ...{ command: 'revoke', subject: 'certificate', help: 'revoke it: nobody is to trust it any more' },
    form: (items) => ({
      title: `Revoke certificate ${chosen(items).name}`,
      fields: [
        {
          kind: 'choice',
          name: 'reason',
          label: 'reason',
          choices: REASONS,
          hint: 'as it stands in the revocation lists',
        },
      ],
    }),
    plan: (items, values, { calls, target }) => {
      const reason = REASONS.find((each) => each === values['reason']) ?? 'unspecified';
      return planOf(revokeCertificate(calls, chosen(items), reason), target);
    },
  },
  {
    ...{ command: 'delete', subject: 'certificate', help: 'forget it and its key at all nodes' },
    plan: (items, _values, { calls, target }) => planOf(deleteCertificate(calls, chosen(items)), target),
  },
];
