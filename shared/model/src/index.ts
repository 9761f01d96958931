// SPDX-License-Identifier: Apache-2.0
export * from '@marcher/proto/marcher/v1/model_pb';
export {
  AFFINITY_KEYS,
  ALGORITHMS,
  API_VERSION,
  type FileValue,
  FORWARDING_MODES,
  HEALTH_CHECK_TYPES,
  PROTOCOLS,
  PROXY_VERSIONS,
  type ServiceFile,
} from './file-shape.js';
export { importFproxy } from './fproxy.js';
export { nearest } from './nearest.js';
export { locateViolations, type ParseOptions, type ParseResult, parseConfiguration, TEXT_BYTES_MAX } from './parse.js';
export { printConfiguration } from './print.js';
export { type Parsed, parseDuration, printDuration } from './scalar.js';
export { serviceToFile } from './to-file.js';
export { formatPath, formatViolation, type ModelViolation, type PathSegment, parsePath } from './violation.js';
