// SPDX-License-Identifier: Apache-2.0
export { HybridClock, type HybridClockOptions, type Received } from './clock.js';
export {
  COUNTER_MAX,
  compare,
  MS_MAX,
  NODE_MAX,
  PACKED_BYTES,
  pack,
  type Timestamp,
  unpack,
  ZERO,
} from './timestamp.js';
