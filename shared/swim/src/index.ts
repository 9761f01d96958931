// SPDX-License-Identifier: Apache-2.0
export { SwimOptionsError } from './core/context.js';
export * from './core/contract.js';
export { type Random, seededRandom } from './core/random.js';
export { type RememberedMember, Swim, type SwimStats } from './core/swim.js';
export * from './core/tuning.js';
export * from './wire/index.js';
