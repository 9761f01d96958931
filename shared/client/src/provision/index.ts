// SPDX-License-Identifier: Apache-2.0
/** Adding a node to a mesh by SSH: for Node.js alone, and for every console. */
export { type Archive, archivesIn } from './archive.js';
export type { MachineFacts } from './facts.js';
export { type Finding, privilegeOf } from './findings.js';
export { type Layout, layoutUnder } from './layout.js';
export { type Looked, type LookParts, lookAt } from './look.js';
export type { Machine, Privilege, Ran, RunOptions } from './machine.js';
export { checkPlan, type Plan, portsOf } from './plan.js';
export { mayUndo, type Progress, STEP_TITLES, type StepName, type StepPhase, type StepState } from './progress.js';
export { Provision } from './provision.js';
export { plainProcess, type Runner, systemd } from './runner.js';
export type { Ground } from './steps.js';
