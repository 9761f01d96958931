// SPDX-License-Identifier: Apache-2.0
/** What is asked for before something is done to a certificate. */
import type { CertificateUsageWord, RevocationReasonWord } from '@marcher/client/actions';
import type { AgentCalls } from '@marcher/client/fleet';
import type { Certificate } from '@marcher/proto/marcher/v1/certificate_service_pb';
import type { Doing } from './deed-dialog.js';
import type { Actions } from './deeds.js';
import { type Field, OBJECT_NAME, wordsOf } from './fields.js';

const NAMES_MAX = 100;

const nameField = (initial = ''): Field => ({
  ...{
    kind: 'text',
    name: 'name',
    label: 'Name',
    hint: 'a to z, 0 to 9 and -',
    pattern: OBJECT_NAME,
    max: 63,
    initial,
  },
});

export function issuing(actions: Actions, calls: AgentCalls): Doing {
  return {
    title: 'Issue a certificate',
    note: "The mesh's CA signs it, by the agent that is connected to; it is renewed by itself.",
    fields: [
      nameField(),
      {
        ...{ kind: 'text', name: 'names', label: 'For', max: 4_000 },
        hint: 'DNS names, such as *.example.org, and IP addresses; with spaces between them',
      },
      { kind: 'number', name: 'days', label: 'Days that each lasts', from: 1, to: 365, initial: 365 },
      {
        ...{ kind: 'choice', name: 'usage', label: 'Usage', initial: 'server' },
        choices: Object.keys(actions.CERTIFICATE_USAGES),
      },
    ],
    make: ({ name = '', names, days, usage }) => {
      const list = wordsOf(names);
      if (list.length > NAMES_MAX) throw new Error(`it is for ${list.length} names: at most ${NAMES_MAX} are taken`);
      const issue = { name, names: list, days: Number(days), usage: usage as CertificateUsageWord };
      return actions.issueCertificate(calls, issue);
    },
  };
}

/** replace: an imported one of this name. */
export function importing(actions: Actions, calls: AgentCalls, replace?: string): Doing {
  return {
    title: replace === undefined ? 'Import a certificate' : `Replace certificate ${replace}`,
    note: 'The key goes to the agent, and is kept by all nodes. One with a passphrase is imported by marcher certificate import, which asks for it.',
    fields: [
      ...(replace === undefined ? [nameField()] : []),
      {
        ...{ kind: 'pem', secret: false, name: 'chain', label: 'Certificate (PEM)' },
        hint: "the certificate, then each one's issuer, without the root",
      },
      { kind: 'pem', secret: true, name: 'key', label: 'Private key (PEM)' },
    ],
    make: ({ name = replace ?? '', chain = '', key = '' }) => {
      if (!/-----BEGIN CERTIFICATE-----/.test(chain)) {
        throw new Error('the certificate is not PEM: expected "-----BEGIN CERTIFICATE-----"');
      }
      if (/ENCRYPTED/.test(key)) {
        throw new Error('the key has a passphrase: take it off, or use marcher certificate import, which asks for it');
      }
      if (!/-----BEGIN ([A-Z]+ )?PRIVATE KEY-----/.test(key)) {
        throw new Error('the key is not PEM: expected "-----BEGIN PRIVATE KEY-----"');
      }
      const privateKey = new TextEncoder().encode(key);
      return actions.importCertificate(calls, { name, chain, privateKey, replace: replace !== undefined });
    },
  };
}

export function renewing(actions: Actions, calls: AgentCalls, certificate: Certificate): Doing {
  const keep = 'keep those before it';
  return {
    title: `Renew certificate ${certificate.name}`,
    fields: [
      {
        ...{ kind: 'choice', name: 'revoke', label: 'Certificates before it', initial: keep },
        choices: [keep, ...Object.keys(actions.REVOCATION_REASONS).map((reason) => `revoke: ${reason}`)],
        hint: 'revoke them where somebody else may have their keys',
      },
    ],
    make: ({ revoke = keep }) => {
      const reason = revoke === keep ? undefined : (revoke.slice('revoke: '.length) as RevocationReasonWord);
      return actions.renewCertificate(calls, certificate, reason);
    },
  };
}

export function revoking(actions: Actions, calls: AgentCalls, certificate: Certificate): Doing {
  return {
    title: `Revoke certificate ${certificate.name}`,
    fields: [
      {
        ...{ kind: 'choice', name: 'reason', label: 'Reason', initial: 'unspecified' },
        choices: Object.keys(actions.REVOCATION_REASONS),
      },
    ],
    make: ({ reason = 'unspecified' }) => actions.revokeCertificate(calls, certificate, reason as RevocationReasonWord),
  };
}
