// SPDX-License-Identifier: Apache-2.0
import { packetTierCompliance } from './compliance.js';
import { InMemoryPacketTier } from './in-memory.js';

packetTierCompliance('in memory', async () => {
  const tier = new InMemoryPacketTier();
  return { tier, interfaces: ['eth0'], dispose: () => tier.close() };
});
