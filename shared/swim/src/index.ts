// SPDX-License-Identifier: Apache-2.0
export { SwimOptionsError } from './core/context.js';
export * from './core/contract.js';
export { type Random, seededRandom } from './core/random.js';
export { type RememberedMember, Swim, type SwimStats } from './core/swim.js';
export * from './core/tuning.js';
export { NetworkNode, type NodeEvent, type NodeStats, type Rejected, type Rejection } from './node/network-node.js';
export { defaultStreamLimits, type NodeOptions, type StreamLimits } from './node/options.js';
export { type JoinResult, SwimError, type SwimListener, SwimThread } from './node/swim-thread.js';
export * from './wire/index.js';
