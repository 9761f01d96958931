// SPDX-License-Identifier: Apache-2.0
/** Machines that were not let into the mesh: a denied attempt each. Those that were are told of with their node's record. */
import { ACTION } from '../../domain/audit/actions.js';
import type { AuditTrail } from '../../ports/audit.js';
import type { Admit } from '../../ports/mesh.js';

export function auditedAdmission(admit: Admit, trail: AuditTrail | undefined): Admit {
  return async (request, source) => {
    const answer = await admit(request, source);
    if (answer.kind === 'refused') {
      const by = { author: `join:${source}`, via: 'join-token', source };
      trail?.denied({ action: ACTION.join, by, objects: [`Node/${request.name}`], message: answer.reason });
    }
    return answer;
  };
}
