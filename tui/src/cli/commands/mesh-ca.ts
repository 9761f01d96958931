// SPDX-License-Identifier: Apache-2.0
/** The mesh's CA: its roots, and how one takes over from another. */

import type { OfflineRoot } from '@marcher/ca/offline-root';
import type { AgentClient } from '@marcher/client';
import {
  type GetMeshCaResponse,
  GetMeshCaResponseSchema,
  type MeshLeaf,
  type MeshRoot,
  MeshRootState,
  RetireMeshRootResponseSchema,
  type RotateMeshCaResponse,
  RotateMeshCaResponseSchema,
} from '@marcher/proto/marcher/v1/mesh_service_pb';
import { confirm } from '../confirm.js';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';
import { age, clock, plural, timeMs } from '../output/quantity.js';
import { writeMessage } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import { positiveSeconds, type Session, type TargetOptions } from '../session.js';
import { writeTable } from './get.js';
import { asked } from './mesh.js';
import type { RootKeyOptions } from './root-key-file.js';

interface CaOptions extends TargetOptions {
  readonly output: 'text' | 'table' | 'json' | 'yaml';
}

const OVERLAP_MAX_S = 30 * 86_400;
const NAMED_MAX = 10;
const SHOWN_DIGITS = 16;

export async function status(session: Session, options: CaOptions): Promise<undefined> {
  const agent = await session.agent(options);
  const answer = await asked(agent.mesh.getMeshCa({}, session.call(options)));
  if (await writeMessage(session, options, GetMeshCaResponseSchema, answer)) return;
  const between = answer.roots.some(({ issuer }) => issuer !== '');
  await writeTable(session, columns(session, between), answer.roots, 'roots');
  const text = changeText(answer);
  if (text !== '') process.stderr.write(`${text}\n`);
}

export async function rotate(
  session: Session,
  options: CaOptions & RootKeyOptions & { readonly overlap: string; readonly now?: boolean },
): Promise<undefined> {
  const overlap = positiveSeconds(options.overlap, '--overlap');
  if (overlap > OVERLAP_MAX_S) {
    throw usage(`--overlap is "${options.overlap}": expected a time of at most 720h, which is 30 days`);
  }
  const agent = await session.agent(options);
  const request = { overlapMs: Math.max(1, Math.round(overlap * 1_000)), now: options.now === true };
  const call = session.call(options);
  const answer =
    options.rootKey === undefined && options.rootKeyOut === undefined
      ? await asked(agent.mesh.rotateMeshCa(request, call))
      : await rotateOffline(agent, call, options, request);
  if (await writeMessage(session, options, RotateMeshCaResponseSchema, answer)) return;
  const { root, introduced } = answer;
  const id = printable(shortOf(root));
  const when = options.now === true ? ' as soon as all members that are there trust it, and' : '';
  const planned = clock(timeMs(root?.planned));
  const what = kindOf(root);
  await session.write(
    introduced
      ? `The mesh has a new ${what}, ${id}. It signs${when} from ${planned} on.\n`
      : `The ${what} ${id} is to sign${when} from ${planned} on.\n`,
  );
  // Operators know the mesh by its root, which is the same.
  if (what === 'root' || options.rootKeyOut !== undefined) {
    process.stderr.write(
      'Operators elsewhere need the new root in their --ca-file until then: marcher mesh certificate roots\n',
    );
  }
  process.stderr.write('How far it is: marcher mesh ca\n');
}

/** An intermediate, of the root whose key is given or of a new one. */
async function rotateOffline(
  agent: AgentClient,
  call: { timeoutMs: number },
  options: RootKeyOptions,
  request: { readonly overlapMs: number; readonly now: boolean },
): Promise<RotateMeshCaResponse> {
  const { openRootKey, signedIntermediate, withNewRoot } = await import('./root-key-file.js');
  const before = options.rootKey === undefined ? undefined : await openRootKey(options);
  try {
    const requested = await asked(agent.mesh.requestMeshIntermediate({}, call));
    if (before !== undefined && options.rootKeyOut === undefined) {
      const intermediate = await signedIntermediate(before, requested, options);
      return await asked(agent.mesh.rotateMeshCa({ ...request, intermediate }, call));
    }
    const mesh = { id: requested.meshId, name: requested.meshName };
    return await withNewRoot(mesh, options, async (root) => {
      const intermediate = await signedIntermediate(root, requested, options);
      const endorsed = before && { endorsement: await endorsementOf(before, root.certificate, request.overlapMs) };
      return await asked(agent.mesh.rotateMeshCa({ ...request, intermediate, ...endorsed }, call));
    });
  } finally {
    before?.privateKey.fill(0);
  }
}

async function endorsementOf(before: OfflineRoot, certificate: Uint8Array, overlapMs: number) {
  const { introduceRoot } = await import('@marcher/ca/offline-root');
  const plannedMs = Date.now() + overlapMs;
  return { ...(await introduceRoot(before, certificate, plannedMs)), plannedMs: BigInt(plannedMs) };
}

export async function retire(
  session: Session,
  options: CaOptions & RootKeyOptions & { readonly yes?: boolean; readonly force?: boolean },
  fingerprint: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  const call = session.call(options);
  const { roots } = await asked(agent.mesh.getMeshCa({}, call));
  const found = roots.filter((root) => root.fingerprint.startsWith(fingerprint.toLowerCase()));
  const [root] = found;
  if (root === undefined || found.length > 1 || fingerprint === '') {
    const what = root === undefined ? 'there is no root' : 'there is more than one root';
    throw new Failure(ExitCode.notFound, `${what} "${fingerprint}": see marcher mesh ca`);
  }
  const force = options.force === true;
  if (options.yes !== true) {
    const cut = force && root.leaves.length > 0 ? ` That cuts off ${namesOf(root.leaves)}.` : '';
    await confirm(`Retire ${kindOf(root)} ${shortOf(root)}? What it has signed is taken by no member any more.${cut}`);
  }
  const revocationList = options.rootKey === undefined ? '' : await revocationBy(options, root);
  const request = { fingerprint: root.fingerprint, force, revocationList };
  const answer = await asked(agent.mesh.retireMeshRoot(request, call));
  if (await writeMessage(session, options, RetireMeshRootResponseSchema, answer)) return;
  await session.write(`Retired ${kindOf(root)} ${printable(shortOf(answer.root))}.\n`);
  if (answer.cutOff.length === 0) return;
  process.stderr.write(
    `Cut off: ${printable(namesOf(answer.cutOff))}. A member joins again with a new token, an operator needs another ` +
      'certificate.\n',
  );
}

async function revocationBy(options: RootKeyOptions, root: MeshRoot): Promise<string> {
  const { openRootKey, revocationOf } = await import('./root-key-file.js');
  const key = await openRootKey(options);
  try {
    return await revocationOf(key, root);
  } finally {
    key.privateKey.fill(0);
  }
}

function kindOf(root: Pick<MeshRoot, 'issuer'> | undefined): string {
  return root === undefined || root.issuer === '' ? 'root' : 'intermediate';
}

/** between: there are intermediates. */
function columns({ style }: Session, between: boolean): Column<MeshRoot>[] {
  const now = Date.now();
  return [
    { title: 'ROOT', value: shortOf },
    ...(between ? [{ title: 'SIGNED-BY', value: ({ issuer }: MeshRoot) => issuer.slice(0, SHOWN_DIGITS) || '-' }] : []),
    {
      title: 'STATE',
      value: stateText,
      paint: (text) => (text === 'signs' ? style.green(text) : text),
    },
    { title: 'EXPIRES', value: ({ expires }) => clock(timeMs(expires)).slice(0, 'YYYY-MM-DD'.length) },
    { title: 'TRUSTED-BY', value: ({ trustedBy }) => trustedBy.join(', ') || '-' },
    { title: 'KEY-AT', value: ({ keyHeldBy }) => keyHeldBy.join(', ') || '-' },
    { title: 'CERTIFICATES', value: ({ leaves }) => leavesText(leaves, now) },
  ];
}

function stateText({ state, planned, retired }: MeshRoot): string {
  switch (state) {
    case MeshRootState.INTRODUCED:
      return `signs from ${clock(timeMs(planned))}`;
    case MeshRootState.RETIRED:
      return `retired ${clock(timeMs(retired))}`;
    default:
      return (MeshRootState[state] ?? String(state)).toLowerCase();
  }
}

/** "3 members, 1 operator, first expires in 12d" */
function leavesText(leaves: readonly MeshLeaf[], now: number): string {
  if (leaves.length === 0) return '-';
  const members = leaves.filter(({ member }) => member !== '').length;
  const operators = leaves.filter(({ user }) => user !== '').length;
  const services = leaves.length - members - operators;
  const counts = [
    ...(members === 0 ? [] : [plural(members, 'member')]),
    ...(operators === 0 ? [] : [plural(operators, 'operator')]),
    ...(services === 0 ? [] : [plural(services, 'service')]),
  ];
  const first = Math.min(...leaves.map(({ expires }) => timeMs(expires) ?? Number.POSITIVE_INFINITY));
  return `${counts.join(', ')}, first expires in ${age(Math.max(0, first - now))}`;
}

/** Empty: nothing is under way. */
function changeText({ roots, waitingFor, hastened }: GetMeshCaResponse): string {
  const [newest] = roots;
  if (newest?.state === MeshRootState.INTRODUCED) {
    const names = waitingFor.slice(0, NAMED_MAX).map(printable).join(', ');
    const more = waitingFor.length > NAMED_MAX ? ` and ${waitingFor.length - NAMED_MAX} more` : '';
    const who =
      names === '' ? `All members that are there trust the new ${kindOf(newest)}` : `Not yet taken by ${names}${more}`;
    return hastened
      ? `${who}; it signs when all have it.`
      : `${who}; marcher mesh ca rotate --now lets it sign before.`;
  }
  const old = roots.find(({ state, leaves }) => state === MeshRootState.TRUSTED && leaves.length > 0);
  if (old === undefined) return '';
  return `${kindOf(old) === 'root' ? 'Root' : 'Intermediate'} ${printable(shortOf(old))} is retired when nothing needs it any more: ${printable(namesOf(old.leaves))}.`;
}

function namesOf(leaves: readonly MeshLeaf[]): string {
  const names = leaves.slice(0, NAMED_MAX).map(({ member, user, certificate }) => {
    return member || (user === '' ? `certificate ${certificate}` : `user ${user}`);
  });
  const more = leaves.length > NAMED_MAX ? ` and ${leaves.length - NAMED_MAX} more` : '';
  return `${names.join(', ')}${more}`;
}

function shortOf(root: Pick<MeshRoot, 'fingerprint'> | undefined): string {
  return (root?.fingerprint ?? '').slice(0, SHOWN_DIGITS);
}
