// SPDX-License-Identifier: Apache-2.0
import { NO_PROOF } from '../domain/packet-proof.js';
import { type PacketTier, PacketTierError } from '../ports/packet-tier.js';

/** Of an agent that is not given any. */
export const NO_PACKET_TIER: PacketTier = {
  state: { kind: 'off', reason: 'this agent was started without packet tiers' },
  proof: NO_PROOF,
  open: async () => NO_PACKET_TIER.state,
  apply: () => Promise.reject(new PacketTierError('not-open', 'this agent was started without packet tiers')),
  status: () => {
    throw new PacketTierError('not-open', 'this agent was started without packet tiers');
  },
  tend: async () => undefined,
  obstacles: () => [],
  close: async () => undefined,
};
