// SPDX-License-Identifier: Apache-2.0
/** Operators elsewhere: their certificates, and what this node shows them and believes of them. */
import { ClientCertificates } from '../application/mesh/client-certificates.js';
import { ACTION } from '../domain/audit/actions.js';
import { isIntermediate } from '../domain/identity/issuer.js';
import { anchors, trustedRoots } from '../domain/identity/trust.js';
import type { IssuedClient, MeshUseCases } from '../ports/mesh.js';
import type { Caller } from '../ports/use-cases.js';
import { tell } from './auditing.js';
import { applicationError, type Part } from './part.js';

const MESSAGES = { issued: 'a certificate was issued to', revoked: 'a certificate was revoked of' } as const;
const ACTIONS = { issued: ACTION.issueCertificate, revoked: ACTION.revokeCertificate } as const;

/** part: asked for when something is issued or revoked; what is before that is read here. */
export function openClients(
  { identity, cells, nodes, replication }: Pick<Part, 'identity' | 'cells' | 'nodes' | 'replication'>,
  part: () => Part,
): ClientCertificates {
  const clients = new ClientCertificates({
    cells,
    authority: () => identity.authority,
    signers: () => [...nodes.members.values()].filter(({ role }) => role === 'authority').map(({ name }) => name),
    roots: () => rootsOf({ identity }),
    write: ({ kind, certificate: { serial, user }, by, writes }) => {
      const told = { action: ACTIONS[kind], by, objects: [`ClientCertificate/${serial}`], message: `user ${user}` };
      replication.write(by.author, `${MESSAGES[kind]} user ${user}`, writes, () => tell(part(), 'done', told));
    },
    nowMs: Date.now,
  });
  clients.load();
  return clients;
}

/** Throws ApplicationError. */
export async function issueCertificate(
  { clients, options }: Part,
  request: Parameters<MeshUseCases['issueCertificate']>[0],
  caller: Caller,
): Promise<IssuedClient> {
  try {
    const issued = await clients.issue(request, caller);
    const { serial, user } = issued.details;
    options.log.info({ serial, user, author: caller.author }, 'a client certificate was issued');
    return issued;
  } catch (error) {
    throw applicationError(error);
  }
}

/** Throws ApplicationError. */
export function revokeCertificate({ clients, options }: Part, serial: string, caller: Caller): void {
  clients.revoke(serial, caller);
  options.log.info({ serial, author: caller.author }, 'a client certificate was revoked');
}

/** PEM, all that are trusted now. Intermediates are shown with what they have signed: who has them for roots would trust them for ever. */
export function rootsOf({ identity }: Pick<Part, 'identity'>): string {
  return anchors(identity.roots, Date.now())
    .map(({ pem }) => pem)
    .join('');
}

/** PEM, those that are trusted: by them operators verify what they have signed beside certificates. */
export function intermediatesOf({ identity }: Pick<Part, 'identity'>): readonly string[] {
  return trustedRoots(identity.roots, Date.now()).flatMap(({ certificate, pem }) =>
    isIntermediate(certificate) ? [pem] : [],
  );
}
