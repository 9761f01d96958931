// SPDX-License-Identifier: Apache-2.0
/**
 * Answers the shells' completion scripts: `marcher __complete WORD... CURRENT` prints what CURRENT may become, one per
 * line, "value<TAB>description". A last line ":files" asks the shell for file names. Never fails and never waits long:
 * names of an agent that does not answer in time are left out.
 */

import { LOCAL_NAME } from '@marcher/client/address-book';
import type { Command, Option } from 'commander';
import { addressBook } from '../chosen-target.js';
import { kindNames, objectKinds } from '../commands/kind.js';
import { kinds, optionKinds, type ValueKind, valueKinds } from '../program.js';
import type { Session } from '../session.js';

const agentMs = 1500;
const namesMax = 1000;
/** The guard that the commands below `marcher guard` edit. */
const OPERATOR = 'operator';

export interface Candidate {
  readonly value: string;
  readonly description: string;
}

export type LiveNames = (kind: ValueKind, words: readonly string[], target: string | undefined) => Promise<string[]>;

export async function complete(session: Session, program: Command, words: readonly string[]): Promise<void> {
  const live: LiveNames = async (kind, context, target) => {
    try {
      return await namesOf(session, kind, context, target);
    } catch {
      return [];
    }
  };
  const { candidates, files } = await candidatesFor(program, words, live);
  const lines = candidates.map(({ value, description }) => (description === '' ? value : `${value}\t${description}`));
  if (files) lines.push(':files');
  await session.write(lines.map((line) => `${line}\n`).join(''));
}

export async function candidatesFor(
  program: Command,
  words: readonly string[],
  live: LiveNames,
): Promise<{ candidates: Candidate[]; files: boolean }> {
  const current = words.at(-1) ?? '';
  let command = program;
  let target: string | undefined;
  let pending: Option | undefined;
  const positional: string[] = [];
  for (const word of words.slice(0, -1)) {
    if (pending !== undefined) {
      if (pending.long === '--target') target = word;
      pending = undefined;
      continue;
    }
    if (word.startsWith('-') && word !== '-') {
      const [flag, value] = word.split('=', 2);
      const option = findOption(command, flag ?? '');
      if (option?.long === '--target' && value !== undefined) target = value;
      if (option?.required && value === undefined) pending = option;
      continue;
    }
    const sub = positional.length === 0 ? command.commands.find((each) => each.name() === word) : undefined;
    if (sub !== undefined) command = sub;
    else positional.push(word);
  }
  const starting = (candidates: Candidate[]): Candidate[] =>
    candidates.filter(({ value }) => value.startsWith(current));
  const valuesOf = async (kind: ValueKind): Promise<{ candidates: Candidate[]; files: boolean }> => {
    if (kind === 'file') return { candidates: starting([{ value: '-', description: 'standard input' }]), files: true };
    if (kind === 'kind') return { candidates: starting(kindsOf(command).map(plain)), files: false };
    if (kind === 'shell') return { candidates: starting(['bash', 'zsh', 'fish'].map(plain)), files: false };
    if (kind === 'target' || kind === 'target-name') {
      const address = kind === 'target' ? ['unix:/run/marcher/marcher.sock', 'https://', 'ssh://'] : [];
      return { candidates: starting([...(await live(kind, positional, target)), ...address].map(plain)), files: false };
    }
    return { candidates: starting((await live(kind, positional, target)).slice(0, namesMax).map(plain)), files: false };
  };

  if (pending !== undefined) {
    const kind = optionKinds[pending.long ?? ''];
    if (kind !== undefined) return await valuesOf(kind);
    return { candidates: starting((pending.argChoices ?? []).map(plain)), files: false };
  }
  const [flag, ...rest] = current.split('=');
  if (current.startsWith('--') && rest.length > 0) {
    const option = findOption(command, flag ?? '');
    const choices = option?.argChoices ?? [];
    return { candidates: starting(choices.map((choice) => plain(`${flag}=${choice}`))), files: false };
  }
  if (current.startsWith('-')) {
    const options = visible(command);
    const flags = options.map((option) => ({
      value: option.long ?? option.short ?? '',
      description: option.description,
    }));
    return { candidates: starting([...flags, { value: '--help', description: 'help on this command' }]), files: false };
  }
  if (command.commands.length > 0 && positional.length === 0) {
    const subs = command.commands.filter((sub) => !sub.name().startsWith('__'));
    return {
      candidates: starting(subs.map((sub) => ({ value: sub.name(), description: sub.description() }))),
      files: false,
    };
  }
  const taken = valueKinds.get(command) ?? [];
  const kind = taken[positional.length] ?? (isVariadic(command) ? taken.at(-1) : undefined);
  return kind === undefined ? { candidates: [], files: false } : await valuesOf(kind);
}

function isVariadic(command: Command): boolean {
  return command.registeredArguments.at(-1)?.variadic === true;
}

function plain(value: string): Candidate {
  return { value, description: '' };
}

function visible(command: Command): Option[] {
  return command.options.filter((option) => !option.hidden);
}

function findOption(command: Command, flag: string): Option | undefined {
  for (let at: Command | null = command; at !== null; at = at.parent) {
    const option = at.options.find((each) => each.long === flag || each.short === flag);
    if (option !== undefined) return option;
  }
  return undefined;
}

function kindsOf(command: Command): string[] {
  if (command.name() === 'watch') return ['services', 'guards', 'policies', 'backends', 'connections'];
  if (command.name() === 'delete') return ['services', 'guards', 'policies'];
  if (command.name() === 'explain') return ['service'];
  return [...kinds];
}

function objectKindOf(word: string): string | undefined {
  const isOne = (kind: 'guards' | 'policies'): boolean => (kindNames[kind] as readonly string[]).includes(word);
  if (isOne('guards')) return objectKinds.guards;
  return isOne('policies') ? objectKinds.policies : undefined;
}

async function namesOf(
  session: Session,
  kind: ValueKind,
  words: readonly string[],
  target: string | undefined,
): Promise<string[]> {
  if (kind === 'target' || kind === 'target-name') {
    return [...(await addressBook(process.env)).read().targets.keys(), LOCAL_NAME];
  }
  const agent = await session.agent(target === undefined ? {} : { target }, agentMs, false);
  const call = { timeoutMs: agentMs };
  if (kind === 'version') {
    return (await agent.config.history({ limit: 50 }, call)).revisions.map(({ version }) => String(version));
  }
  if (kind === 'backend') {
    return (await agent.node.backends({ service: words[0] ?? '' }, call)).backends.map(({ backend }) => backend);
  }
  if (kind === 'cluster') return (await agent.mesh.listClusters({}, call)).clusters.map(({ name }) => name);
  if (kind === 'member' || kind === 'mesh-node') {
    const { MemberState } = await import('@marcher/proto/marcher/v1/mesh_service_pb');
    const { members } = await agent.mesh.listMembers({}, call);
    const named = (name: string): number => members.filter((member) => member.name === name).length;
    // The node itself can't be removed by itself; of several with one name only ids tell which.
    return members
      .filter(({ state }) => kind === 'mesh-node' || state !== MemberState.SELF)
      .map(({ name, nodeId }) => (named(name) === 1 ? name : nodeId));
  }
  if (kind === 'join-token') {
    const { tokens } = await agent.mesh.listJoinTokens({}, call);
    return tokens.filter(({ usedBy }) => usedBy === '').map(({ id }) => id);
  }
  if (kind === 'user') return (await agent.access.listUsers({}, call)).users.map(({ name }) => name);
  if (kind === 'api-key') return (await agent.access.listApiKeys({}, call)).keys.map(({ id }) => id);
  if (kind === 'client-certificate') {
    const { certificates } = await agent.mesh.listClientCertificates({}, call);
    return certificates.filter(({ revoked }) => revoked === undefined).map(({ serial }) => serial);
  }
  if (kind === 'certificate') {
    return (await agent.certificates.listCertificates({}, call)).certificates.map(({ name }) => name);
  }
  if (kind === 'root') {
    const { MeshRootState } = await import('@marcher/proto/marcher/v1/mesh_service_pb');
    const { roots } = await agent.mesh.getMeshCa({}, call);
    // The newest retires others, and is retired by none.
    return roots
      .slice(1)
      .filter(({ state }) => state !== MeshRootState.RETIRED)
      .map(({ fingerprint }) => fingerprint);
  }
  if (kind === 'operator-prefix') {
    const { resources } = await agent.config.listObjects({ kind: 'Guard', name: OPERATOR }, call);
    return resources.flatMap(({ object }) =>
      object?.object.case === 'guard' ? object.object.value.rules.flatMap(({ sources }) => sources) : [],
    );
  }
  const of = kind === 'object' ? objectKindOf(words[0] ?? '') : undefined;
  if (of !== undefined) {
    const { resources } = await agent.config.listObjects({ kind: of }, call);
    return resources.flatMap(({ object }) => object?.object.value?.name ?? []);
  }
  if (words[0] !== undefined && /^no(de|des)?$/.test(words[0])) return [(await agent.node.status({}, call)).nodeName];
  return (await agent.config.list({ pageSize: namesMax }, call)).resources.flatMap(
    ({ service }) => service?.name ?? [],
  );
}
