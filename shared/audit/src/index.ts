// SPDX-License-Identifier: Apache-2.0
/** Records of an audit log, the chain that they are, signed heads of it, and whether all of that agrees. */
export { type Anchor, dropObject, linkHash, startOf } from './chain.js';
export { type Head, headBytes, isHead } from './head.js';
export {
  type AuditEntry,
  type AuditRecord,
  clipped,
  decodeRecord,
  encodeRecord,
  type Hash,
  OUTCOMES,
  type Outcome,
  RECORD_LIMITS,
} from './record.js';
export {
  type ChainRules,
  ChainVerifier,
  FINDINGS_MAX,
  type Finding,
  type FindingKind,
  type Link,
  type Verdict,
} from './verification.js';
