// SPDX-License-Identifier: Apache-2.0
/** For tests of consoles: a mesh without agents, and what breaks. Runs in browsers as well as in Node.js. */

export { StreamLimitReached } from '../stream-limit.js';
export { SimulatedAdministration } from './simulated-administration.js';
export { type Condition, SimulatedAgent } from './simulated-agent.js';
export { type Simulation, type SimulationOptions, simulatedAgents } from './simulated-agents.js';
export { SimulatedClock, seededRandom } from './simulated-clock.js';
export { changeOf } from './simulated-configuration.js';
