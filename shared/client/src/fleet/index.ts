// SPDX-License-Identifier: Apache-2.0
/** A mesh as a console shows it. Runs in browsers as well as in Node.js. */

export { agentCalls } from '../agent-calls.js';
export { AgentError, type AgentErrorCode } from '../agent-error.js';
export { systemAmbient } from './ambient.js';
export { healthOf } from './backend-entry.js';
export * from './contract.js';
export { ageText, coverageText } from './coverage.js';
export { listOf } from './draft-map.js';
export {
  type ConnectionsOptions,
  type FannedNode,
  type LogsOptions,
  type MergedConnections,
  type MergedLog,
  mergedConnections,
  mergedLogs,
} from './fan-out.js';
export { Fleet, type FleetTap } from './fleet.js';
export { NO_FLOW } from './flow.js';
export { findValue } from './node-map.js';
export { plainText } from './plain-text.js';
export { type RecorderOptions, type Recording, record } from './recording/recorder.js';
export { RecordingError } from './recording/recording-line.js';
export { Replay, type ReplayOptions } from './recording/replay.js';
export type { FleetSource, StateListener } from './source.js';
