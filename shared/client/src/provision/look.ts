// SPDX-License-Identifier: Apache-2.0
/** Before anything is changed: what the machine is, whether it can be a node, and whether the mesh can let one in. */
import { AgentError } from '../errors.js';
import type { AgentCalls } from '../fleet/contract.js';
import { plainText } from '../ssh/ssh-error.js';
import { ARCHIVE_GLIBC, type Archive, diskMiBFor } from './archive.js';
import { factsScript, type MachineFacts, parseFacts } from './facts.js';
import { type Finding, judgeMachine } from './findings.js';
import type { Layout } from './layout.js';
import type { Machine } from './machine.js';
import type { Runner } from './runner.js';

export interface Looked {
  readonly facts: MachineFacts;
  readonly findings: readonly Finding[];
  /** The one for the machine. Absent: findings say so. */
  readonly archive: Archive | undefined;
}

export interface LookParts {
  readonly machine: Machine;
  readonly agent: Pick<AgentCalls, 'mesh'>;
  readonly layout: Layout;
  readonly archives: readonly Archive[];
  readonly runner: Runner;
  /** That the node would use, TCP and UDP. */
  readonly ports: readonly number[];
  readonly signal?: AbortSignal;
}

const CALL_MS = 10_000;
const DISK_MIB = 600;

/** Fails as AgentError where one of both does not answer. */
export async function lookAt(parts: LookParts): Promise<Looked> {
  const { machine, agent, layout, archives, runner, ports, signal } = parts;
  const aborting = signal === undefined ? {} : { signal };
  const [ran, { mesh }] = await Promise.all([
    machine.run(factsScript(layout, ports), aborting),
    agent.mesh.getMesh({}, { timeoutMs: CALL_MS, ...aborting }),
  ]);
  const facts = parseFacts(ran.stdout);
  if (facts === undefined) {
    const said = plainText(ran.stderr || ran.stdout, 200);
    throw new AgentError('failed', `the machine has not said what it is: ${said || 'it said nothing'}`, [], undefined);
  }
  const archive = archives.find(({ architecture }) => architecture === facts.architecture);
  const findings = [
    ...meshFindings(mesh?.meshId ?? '', mesh?.signs ?? false),
    ...judgeMachine(facts, {
      architectures: archives.map(({ architecture }) => architecture),
      diskMiB: archive === undefined ? DISK_MIB : diskMiBFor(archive),
      glibc: ARCHIVE_GLIBC,
      service: runner.hasAccount,
    }),
  ];
  return { facts, findings, archive };
}

function meshFindings(meshId: string, signs: boolean): readonly Finding[] {
  if (meshId === '') {
    const text = 'the agent that is connected is in no mesh: start it with --mesh, then marcher mesh init NAME';
    return [{ severity: 'stop', text }];
  }
  if (signs) return [];
  const text = "the agent that is connected does not hold the CA's key: connect to one that does (marcher mesh status)";
  return [{ severity: 'stop', text }];
}
