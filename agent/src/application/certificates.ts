// SPDX-License-Identifier: Apache-2.0
/** Certificates of services belong to a mesh: without one these calls say what to do. */
import type { CertificateUseCases } from '../ports/certificates.js';
import { ApplicationError } from '../ports/use-cases.js';

/** of: undefined: this node is in no mesh. */
export function createCertificates(of: () => CertificateUseCases | undefined): CertificateUseCases {
  const present = (): CertificateUseCases => {
    const certificates = of();
    if (certificates !== undefined) return certificates;
    const fix = 'make one of this node: start it with marcherd --mesh ADDRESS:7400, then marcher mesh init NAME';
    throw new ApplicationError('refused', `certificates belong to a mesh, and this node is in none: ${fix}`);
  };
  return {
    // Metrics ask, too: there are none.
    list: () => of()?.list() ?? [],
    get: (name) => present().get(name),
    issue: async (request, caller) => await present().issue(request, caller),
    import: (request, caller) => present().import(request, caller),
    renew: async (name, revoke, caller) => await present().renew(name, revoke, caller),
    revoke: (name, reason, caller) => present().revoke(name, reason, caller),
    remove: (name, caller) => present().remove(name, caller),
    exportKey: (name, caller) => present().exportKey(name, caller),
  };
}
