// SPDX-License-Identifier: Apache-2.0
/** An intermediate that an operator brings, and what an offline root says of the next: bounded here, read by who takes them. */
import type { MeshIntermediate, RootEndorsement } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { ROOT_SIGNATURE_BYTES } from '../../../domain/identity/root-statement.js';
import type { OfferedEndorsement, OfferedIntermediate } from '../../../ports/mesh.js';
import { invalidArgument } from './errors.js';

const CERTIFICATE_MAX_BYTES = 16_384;
const FINGERPRINT = /^[0-9a-f]{64}$/;

export function offeredIntermediate(message: MeshIntermediate | undefined): OfferedIntermediate | undefined {
  if (message === undefined) return undefined;
  const { certificate, root } = message;
  for (const [field, bytes] of Object.entries({ certificate, root })) {
    if (bytes.length > 0 && bytes.length <= CERTIFICATE_MAX_BYTES) continue;
    const expected = `expected a certificate in DER, of at most ${CERTIFICATE_MAX_BYTES}`;
    throw invalidArgument(`intermediate.${field} has ${bytes.length} bytes: ${expected}`);
  }
  return { certificate, root };
}

export function offeredEndorsement(message: RootEndorsement | undefined): OfferedEndorsement | undefined {
  if (message === undefined) return undefined;
  const { root, signature, plannedMs } = message;
  if (!FINGERPRINT.test(root)) throw invalidArgument('endorsement.root is no fingerprint: expected 64 hex digits');
  if (signature.length !== ROOT_SIGNATURE_BYTES) {
    throw invalidArgument(`endorsement.signature has ${signature.length} bytes: expected ${ROOT_SIGNATURE_BYTES}`);
  }
  if (plannedMs === 0n || plannedMs > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw invalidArgument('endorsement.planned_ms is not a time: expected Unix time in ms');
  }
  return { by: { root, signature }, plannedMs: Number(plannedMs) };
}
