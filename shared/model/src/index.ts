// SPDX-License-Identifier: Apache-2.0
export * from '@marcher/proto/marcher/v1/model_pb';
export {
  AFFINITY_KEYS,
  ALGORITHMS,
  API_VERSION,
  type FileValue,
  FORWARDING_MODES,
  HEALTH_CHECK_TYPES,
  LOADS,
  type ObjectFile,
  PROXY_VERSIONS,
} from './file-shape.js';
export { importFproxy } from './fproxy.js';
export {
  GUARD_ACTIONS,
  GUARD_DEFAULTS,
  guardRuleToFile,
  guardToFile,
  SYN_COOKIES_MODES,
} from './guard-form.js';
export {
  isObjectKind,
  KINDS,
  type Kind,
  kindOf,
  LIST_OF,
  NOUN_OF,
  nameOf,
  OBJECT_KINDS,
  type ObjectKind,
  objectsOf,
  objectToFile,
} from './kinds.js';
export { nearest } from './nearest.js';
export { locateViolations, type ParseOptions, type ParseResult, parseConfiguration, TEXT_BYTES_MAX } from './parse.js';
export { printConfiguration } from './print.js';
export { PROTOCOLS } from './protocol-form.js';
export { type Parsed, parseDuration, printDuration } from './scalar.js';
export { serviceToFile } from './to-file.js';
export { ECN_MODES, PRIORITIES, trafficPolicyToFile } from './traffic-policy-form.js';
export { formatPath, formatViolation, type ModelViolation, type PathSegment, parsePath } from './violation.js';
