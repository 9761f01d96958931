// SPDX-License-Identifier: Apache-2.0
/** The mesh's CA: its roots, and how one takes over from another. */
import {
  type GetMeshCaResponse,
  GetMeshCaResponseSchema,
  type MeshLeaf,
  type MeshRoot,
  MeshRootState,
  RetireMeshRootResponseSchema,
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
  await writeTable(session, columns(session), answer.roots, 'roots');
  const text = changeText(answer);
  if (text !== '') process.stderr.write(`${text}\n`);
}

export async function rotate(
  session: Session,
  options: CaOptions & { readonly overlap: string; readonly now?: boolean },
): Promise<undefined> {
  const overlap = positiveSeconds(options.overlap, '--overlap');
  if (overlap > OVERLAP_MAX_S) {
    throw usage(`--overlap is "${options.overlap}": expected a time of at most 720h, which is 30 days`);
  }
  const agent = await session.agent(options);
  const request = { overlapMs: Math.max(1, Math.round(overlap * 1_000)), now: options.now === true };
  const answer = await asked(agent.mesh.rotateMeshCa(request, session.call(options)));
  if (await writeMessage(session, options, RotateMeshCaResponseSchema, answer)) return;
  const { root, introduced } = answer;
  const id = printable(shortOf(root));
  const when = options.now === true ? ' as soon as all members that are there trust it, and' : '';
  const planned = clock(timeMs(root?.planned));
  await session.write(
    introduced
      ? `The mesh has a new root, ${id}. It signs${when} from ${planned} on.\n`
      : `Root ${id} is to sign${when} from ${planned} on.\n`,
  );
  process.stderr.write(
    'Operators elsewhere need it in their --ca-file until then: marcher mesh certificate roots\n' +
      'How far it is: marcher mesh ca\n',
  );
}

export async function retire(
  session: Session,
  options: CaOptions & { readonly yes?: boolean; readonly force?: boolean },
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
    await confirm(`Retire root ${shortOf(root)}? What it has signed is taken by no member any more.${cut}`);
  }
  const answer = await asked(agent.mesh.retireMeshRoot({ fingerprint: root.fingerprint, force }, call));
  if (await writeMessage(session, options, RetireMeshRootResponseSchema, answer)) return;
  await session.write(`Retired root ${printable(shortOf(answer.root))}.\n`);
  if (answer.cutOff.length === 0) return;
  process.stderr.write(
    `Cut off: ${printable(namesOf(answer.cutOff))}. A member joins again with a new token, an operator needs another ` +
      'certificate.\n',
  );
}

function columns({ style }: Session): Column<MeshRoot>[] {
  const now = Date.now();
  return [
    { title: 'ROOT', value: shortOf },
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
    const who = names === '' ? 'All members that are there trust the new root' : `Not yet taken by ${names}${more}`;
    return hastened
      ? `${who}; it signs when all have it.`
      : `${who}; marcher mesh ca rotate --now lets it sign before.`;
  }
  const old = roots.find(({ state, leaves }) => state === MeshRootState.TRUSTED && leaves.length > 0);
  if (old === undefined) return '';
  return `Root ${printable(shortOf(old))} is retired when nothing needs it any more: ${printable(namesOf(old.leaves))}.`;
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
