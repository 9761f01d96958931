// SPDX-License-Identifier: Apache-2.0
/**
 * CertificateService over its use cases. Bounds on what comes in; private keys come in one message and go out in one other: no
 * error of these calls has one, and the call log never says what was in a message.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter } from '@connectrpc/connect';
import {
  type CertificateSchema,
  CertificateService,
  CertificateSource,
  CertificateUsage,
  RevocationReason,
} from '@marcher/proto/marcher/v1/certificate_service_pb';
import { type CertificateRole, certificateNameFault } from '../../../domain/identity/issue.js';
import { LIFETIME } from '../../../domain/identity/lifetime.js';
import { REVOCATION_REASON, type RevocationReason as ReasonCode } from '../../../domain/identity/revocation.js';
import { readServiceNames } from '../../../domain/identity/service-names.js';
import type { CertificateUseCases, ServiceCertificate } from '../../../ports/certificates.js';
import { callerOf } from './config-api.js';
import { invalidArgument } from './errors.js';

const DAY_MS = 86_400_000;
const DAYS_MAX = LIFETIME.serviceMaxMs / DAY_MS;
const DAYS_DEFAULT = LIFETIME.serviceMs / DAY_MS;
/** How many faults an error names. */
const FAULTS_MAX = 5;

const roles: Readonly<Record<CertificateUsage, readonly CertificateRole[]>> = {
  [CertificateUsage.UNSPECIFIED]: ['server'],
  [CertificateUsage.SERVER]: ['server'],
  [CertificateUsage.CLIENT]: ['client'],
  [CertificateUsage.BOTH]: ['server', 'client'],
};
const reasons: Readonly<Record<RevocationReason, ReasonCode>> = {
  [RevocationReason.UNSPECIFIED]: REVOCATION_REASON.unspecified,
  [RevocationReason.KEY_COMPROMISE]: REVOCATION_REASON.keyCompromise,
  [RevocationReason.SUPERSEDED]: REVOCATION_REASON.superseded,
  [RevocationReason.CESSATION_OF_OPERATION]: REVOCATION_REASON.cessationOfOperation,
  [RevocationReason.PRIVILEGE_WITHDRAWN]: REVOCATION_REASON.privilegeWithdrawn,
};

/** certificates: absent where the agent can be in no mesh. */
export function routeCertificateService(router: ConnectRouter, certificates: CertificateUseCases | undefined): void {
  const { method } = CertificateService;
  const present = (): CertificateUseCases => {
    if (certificates !== undefined) return certificates;
    throw new ConnectError(
      'certificates belong to a mesh, and this agent was started without --mesh: start it with marcherd --mesh ADDRESS:7400, ' +
        'the address of this machine that other agents reach; then marcher mesh init NAME',
      Code.Unimplemented,
    );
  };
  router.rpc(method.listCertificates, () => ({ certificates: present().list().map(message) }));
  router.rpc(method.getCertificate, ({ name }) => {
    const certificate = present().get(checked(name));
    return { certificate: message(certificate), chain: certificate.chain };
  });
  router.rpc(method.issueCertificate, async ({ name, names, days, usage }, context) => {
    const use = present();
    checked(name);
    const read = readServiceNames(names);
    if (read.faults.length > 0) throw invalidArgument(`names: ${read.faults.slice(0, FAULTS_MAX).join('; ')}`);
    if (days > DAYS_MAX) throw invalidArgument(`days is ${days}: expected 1 to ${DAYS_MAX}, or 0 for ${DAYS_DEFAULT}`);
    const request = { name, names: read, roles: rolesOf(usage), days: days || DAYS_DEFAULT };
    return { certificate: message(await use.issue(request, callerOf(context))) };
  });
  router.rpc(method.importCertificate, ({ name, chain, privateKey, replace }, context) => {
    const request = { name: checked(name), chain, key: privateKey, replace };
    try {
      return { certificate: message(present().import(request, callerOf(context))) };
    } finally {
      privateKey.fill(0);
    }
  });
  router.rpc(method.renewCertificate, async ({ name, revokeEarlier, reason }, context) => {
    const revoke = revokeEarlier ? reasonOf(reason) : undefined;
    return { certificate: message(await present().renew(checked(name), revoke, callerOf(context))) };
  });
  router.rpc(method.revokeCertificate, ({ name, reason }, context) => {
    return { certificate: message(present().revoke(checked(name), reasonOf(reason), callerOf(context))) };
  });
  router.rpc(method.deleteCertificate, ({ name }, context) => {
    present().remove(checked(name), callerOf(context));
    return {};
  });
  router.rpc(method.exportPrivateKey, ({ name }, context) => {
    const { chain, key } = present().exportKey(checked(name), callerOf(context));
    return { chain, privateKey: key };
  });
}

function checked(name: string): string {
  const fault = certificateNameFault(name);
  if (fault !== undefined) throw invalidArgument(`name: ${fault}`);
  return name;
}

function rolesOf(usage: CertificateUsage): readonly CertificateRole[] {
  const found = roles[usage];
  if (found !== undefined) return found;
  throw invalidArgument(`usage is ${usage}, which this agent does not know: expected server, client or both`);
}

function reasonOf(reason: RevocationReason): ReasonCode {
  const found = reasons[reason];
  if (found !== undefined) return found;
  throw invalidArgument(`reason is ${reason}, which this agent does not know`);
}

function message(certificate: ServiceCertificate): MessageInitShape<typeof CertificateSchema> {
  const { name, source, facts, renewsMs, revokedMs, writtenMs, writtenBy, keyAvailable } = certificate;
  const { leaf, names, issuer, keyType } = facts;
  return {
    name,
    source: source === 'issued' ? CertificateSource.ISSUED : CertificateSource.IMPORTED,
    usage: usageOf(facts.roles),
    names: [...names],
    notBefore: timestampFromMs(leaf.notBeforeMs),
    notAfter: timestampFromMs(leaf.notAfterMs),
    serial: leaf.serial,
    fingerprint: leaf.fingerprint,
    issuer,
    keyType,
    ...(renewsMs === undefined ? {} : { renews: timestampFromMs(renewsMs) }),
    ...(revokedMs === undefined ? {} : { revoked: timestampFromMs(revokedMs) }),
    written: timestampFromMs(writtenMs),
    writtenBy,
    keyAvailable,
  };
}

function usageOf(of: readonly CertificateRole[]): CertificateUsage {
  if (of.length === 2) return CertificateUsage.BOTH;
  if (of.length === 0) return CertificateUsage.UNSPECIFIED;
  return of[0] === 'server' ? CertificateUsage.SERVER : CertificateUsage.CLIENT;
}
