// SPDX-License-Identifier: Apache-2.0
/**
 * What each step does to the machine and to the mesh, and how that is taken back. Before a script makes something it notes that in a
 * journal on the machine, and undoing takes away only what is noted: so what was there before stays, whichever step has failed,
 * and whether or not the answer to it has come.
 */
import { randomBytes } from 'node:crypto';
import { type Member, MemberState, NodeRole } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { AgentError } from '../errors.js';
import type { AgentCalls } from '../fleet/contract.js';
import { plainText } from '../ssh/ssh-error.js';
import { contentOf, digestOf } from './archive.js';
import { type Machine, type Privilege, privileged, quoted, type Ran } from './machine.js';
import type { Plan } from './plan.js';
import type { StepName } from './progress.js';
import type { Runner } from './runner.js';

export interface Ground {
  readonly plan: Plan;
  readonly machine: Machine;
  readonly privilege: Privilege;
  readonly runner: Runner;
  /** Of the agent by which the node joins; it has to hold the CA's key. */
  readonly agent: Pick<AgentCalls, 'mesh'>;
  readonly pause: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
  /** How long a member may take to come. Default 90,000. */
  readonly joinMs?: number;
}

/** What steps leave to those after them, and to their undoing. */
export interface Made {
  /** On the machine: everything comes into it first, and the journal is there. */
  directory: string | undefined;
  token: { readonly id: string; readonly text: string; readonly address: string } | undefined;
  /** 16 hex digits, once it has joined. */
  nodeId: string | undefined;
}

export interface StepReport {
  readonly said: (text: string) => void;
  readonly share: (share: number) => void;
  readonly signal?: AbortSignal;
}

export interface Step {
  do(ground: Ground, made: Made, report: StepReport): Promise<void>;
  /** Of what may have been done, a part or nothing. Again is no failure. */
  undo(ground: Ground, made: Made, report: StepReport): Promise<void>;
}

const CALL_MS = 10_000;
/** With what it may wait for the one before. */
const SCRIPT_MS = 180_000;
const SEND_MS = 3_600_000;
const START_MS = 300_000;
const LOOK_MS = 500;
const JOIN_MS = 90_000;
const TOKEN_MS = 900_000;

export const STEPS_DONE_BY: Readonly<Record<StepName, Step>> = {
  send: {
    async do(ground, made, report) {
      const { plan, machine } = ground;
      const within = quoted(plan.layout.temporary);
      // Known before it is made: so it can be taken away though the answer never came. Nobody there can guess it.
      const directory = `${plan.layout.temporary}/marcher-add.${randomBytes(8).toString('hex')}`;
      made.directory = directory;
      succeeded(
        await machine.run(
          `umask 077; mkdir -p -- ${within} && mkdir -- ${quoted(directory)} && : > ${quoted(`${directory}/open`)}`,
          asked(report),
        ),
        'no directory could be made for what is sent',
      );
      report.said(`to ${directory}`);
      const input = contentOf(plan.archive, (bytes) => report.share(bytes / plan.archive.bytes));
      const packed = quoted(`${directory}/archive.tar.gz`);
      try {
        const sent = await machine.run(`umask 077; cat > ${packed} && sha256sum < ${packed}`, {
          ...asked(report),
          input,
          timeoutMs: SEND_MS,
        });
        const digest = succeeded(sent, 'the installation could not be written').stdout.slice(0, 64);
        if (digest !== (await digestOf(plan.archive, report.signal))) {
          throw failed('what has come is not what was sent: its SHA-256 is another');
        }
        report.said(`${plan.archive.bytes} bytes, SHA-256 ${digest}`);
      } finally {
        input.destroy();
      }
    },
    async undo(ground, made, report) {
      await undoing(ground, made, 'rm -rf -- "$at"', 'what was sent could not be removed', report);
    },
  },
  unpack: {
    async do(ground, made, report) {
      const { tree, command } = ground.plan.layout;
      const above = tree.slice(0, tree.lastIndexOf('/'));
      const script = `mkdir -p -- ${quoted(above)} ${quoted(command.slice(0, command.lastIndexOf('/')))}
umask 022
mkdir -- ${quoted(tree)}; note tree
tar -xzf "$at/archive.tar.gz" -C ${quoted(tree)} --strip-components=1 --no-same-owner --no-same-permissions
rm -f -- "$at/archive.tar.gz"
${quoted(`${tree}/agent/bin/marcherd`)} --version
ln -s -- ${quoted(`${tree}/tui/bin/marcher`)} ${quoted(command)}; note command`;
      await journaled(ground, made, script, 'the installation could not be unpacked', report, START_MS);
    },
    async undo(ground, made, report) {
      const { tree, command } = ground.plan.layout;
      const script = `if noted command; then rm -f -- ${quoted(command)}; fi
if noted tree; then rm -rf -- ${quoted(tree)}; fi`;
      await undoing(ground, made, script, 'the installation could not be removed', report, START_MS);
    },
  },
  account: {
    async do(ground, made, report) {
      const { tree, account } = ground.plan.layout;
      const script = `if getent passwd marcher > /dev/null; then echo "the user marcher is there already"; exit 0; fi
[ ! -e ${quoted(account)} ] || { echo "${account} is there already" >&2; exit 1; }
note account
mkdir -p -- ${quoted(account.slice(0, account.lastIndexOf('/')))}
install -m 644 -- ${quoted(`${tree}/deploy/marcher.sysusers.conf`)} ${quoted(account)}
systemd-sysusers ${quoted(account)}`;
      await journaled(ground, made, script, 'the user marcher could not be made', report);
    },
    async undo(ground, made, report) {
      const { account } = ground.plan.layout;
      const script = `if noted account; then
  rm -f -- ${quoted(account)}
  if getent passwd marcher > /dev/null; then userdel marcher; fi
  if getent group marcher > /dev/null; then groupdel marcher; fi
fi`;
      await undoing(ground, made, script, 'the user marcher could not be removed', report);
    },
  },
  token: {
    async do({ agent }, made, report) {
      const { token, address, details } = await agent.mesh.createJoinToken(
        { role: NodeRole.MEMBER, lifetimeMs: TOKEN_MS, clusters: [] },
        call(report),
      );
      if (token === '' || details === undefined)
        throw failed('the agent has made no token: is it as new as this program?');
      made.token = { id: details.id, text: token, address };
      report.said(`token ${details.id}, for one machine, for 15 minutes`);
    },
    async undo({ agent }, made, report) {
      if (made.token === undefined) return;
      await unlessGone(agent.mesh.revokeJoinToken({ id: made.token.id }, call(report)));
    },
  },
  settings: {
    async do(ground, made, report) {
      const { plan, runner } = ground;
      const { settings, token: file } = plan.layout;
      const { token } = made;
      if (token === undefined) throw failed('there is no token to join by');
      const lines = [
        '# Written when this node was added to its mesh.',
        `MARCHER_NODE_NAME=${plan.nodeName}`,
        `MARCHER_MESH=${plan.meshAddress}`,
        `MARCHER_JOIN=${plan.meshAddress === '' ? '' : checkedAddress(token.address)}`,
        `MARCHER_JOIN_TOKEN_FILE=${file}`,
      ];
      const directories = [settings, file].map((path) => quoted(path.slice(0, path.lastIndexOf('/')))).join(' ');
      // The token by standard input: what a script has others can see.
      const script = `mkdir -p -- ${directories}
[ ! -e ${quoted(settings)} ] || { echo "${settings} is there already" >&2; exit 1; }
[ ! -e ${quoted(file)} ] || { echo "${file} is there already" >&2; exit 1; }
note settings
umask 077
cat > ${quoted(file)}
${runner.hasAccount ? `chown marcher: ${quoted(file)}` : ':'}
umask 022
printf '%s\\n' ${lines.map(quoted).join(' ')} > ${quoted(settings)}`;
      await journaled(ground, made, script, 'its settings could not be written', report, undefined, `${token.text}\n`);
      for (const line of lines.slice(1)) report.said(line);
    },
    async undo(ground, made, report) {
      const { settings, token } = ground.plan.layout;
      const within = token.slice(0, token.lastIndexOf('/'));
      const script = `if noted settings; then
  rm -f -- ${quoted(settings)} ${quoted(token)}
  rmdir -- ${quoted(within)} 2>/dev/null || :
fi`;
      await undoing(ground, made, script, 'its settings could not be removed', report);
    },
  },
  start: {
    async do(ground, made, report) {
      const { runner, plan } = ground;
      const { state, run } = plan.layout;
      const script = `[ -z "$(ls -A ${quoted(state)} 2>/dev/null)" ] || { echo "${state} is there already" >&2; exit 1; }
note state
mkdir -p -- ${quoted(state.slice(0, state.lastIndexOf('/')))}
${runner.start(plan.layout)}`;
      try {
        await journaled(ground, made, script, 'the agent could not be started', report, START_MS);
      } catch (error) {
        throw withLastWords(error as Error, await lastWords(ground, report));
      }
      report.said(`its state is in ${state}, its engine's in ${run}`);
    },
    async undo(ground, made, report) {
      const { runner, plan } = ground;
      const { state, run } = plan.layout;
      const above = run.slice(0, run.lastIndexOf('/'));
      const script = `if noted state; then
  ${runner.stop(plan.layout)}
  rm -rf -- ${quoted(state)} ${quoted(above)}
fi`;
      await undoing(ground, made, script, 'the agent could not be stopped', report, START_MS);
    },
  },
  join: {
    async do(ground, made, report) {
      const { pause, plan, joinMs = JOIN_MS } = ground;
      const { signal } = report;
      let said = '';
      const say = (what: string): void => {
        if (what !== said) report.said(what);
        said = what;
      };
      for (let waitedMs = 0; ; waitedMs += LOOK_MS) {
        made.nodeId ??= await joinedAs(ground, made, report);
        const member = made.nodeId === undefined ? undefined : await memberOf(ground, made.nodeId, report);
        if (member?.state === MemberState.ALIVE && member.status?.ready === true) {
          say(`${plainText(member.name, 80)} (${member.nodeId}) is a member, and ready`);
          break;
        }
        say(stageOf(made.nodeId, member));
        if (waitedMs >= joinMs) {
          const late = failed(`${plan.nodeName} is not a ready member after ${Math.round(joinMs / 1_000)} s: ${said}`);
          throw withLastWords(late, await lastWords(ground, report));
        }
        await pause(LOOK_MS, signal);
      }
      // It lets nobody in any more; a secret that nobody needs is none to keep.
      const { token } = plan.layout;
      await journaled(ground, made, `rm -f -- ${quoted(token)}`, 'the used token could not be removed', report);
    },
    async undo(ground, made, report) {
      // It may have joined when nobody looked.
      made.nodeId ??= await joinedAs(ground, made, report);
      if (made.nodeId === undefined) return;
      await unlessGone(ground.agent.mesh.removeMember({ node: made.nodeId, keepGossipKeys: false }, call(report)));
      report.said(`${made.nodeId} is no member any more`);
    },
  },
};

function stageOf(nodeId: string | undefined, member: Member | undefined): string {
  if (nodeId === undefined) return 'its token is not used yet';
  if (member === undefined || member.state !== MemberState.ALIVE) return 'it has joined, and is not heard yet';
  return 'it is a member, and not ready yet';
}

/** Who has used the token. */
async function joinedAs({ agent }: Ground, { token }: Made, report: StepReport): Promise<string | undefined> {
  if (token === undefined) return undefined;
  const { tokens } = await agent.mesh.listJoinTokens({}, call(report));
  return tokens.find(({ id }) => id === token.id)?.usedBy || undefined;
}

async function memberOf({ agent }: Ground, id: string, report: StepReport): Promise<Member | undefined> {
  const { members } = await agent.mesh.listMembers({}, call(report));
  return members.find(({ nodeId }) => nodeId === id);
}

/** The agent's word, which goes into a file that shells and systemd read. */
function checkedAddress(address: string): string {
  if (/^[0-9A-Fa-f.:[\]]{3,60}$/.test(address)) return address;
  throw failed(`the agent says that it is reached at ${plainText(address, 80)}, which is no address`);
}

/**
 * One at a time, also where a step was stopped here and goes on there: what it started has the lock as long as it runs. fd 9: whoever
 * starts what stays closes it. The lock is the directory's own, since taking back makes no file: a full disk may be why it is done.
 */
const JOURNAL = `exec 9< "$at"
flock -w 120 9 || { echo "what was stopped still runs there" >&2; exit 1; }
note() { printf '%s\\n' "$1" >> "$at/journal"; }
noted() { grep -qxF -- "$1" "$at/journal" 2>/dev/null; }
`;
/** One that was stopped here may begin there later than what takes it back: it comes too late, and does nothing. */
const DOING = `[ -e "$at/open" ] || { echo "it is being taken back" >&2; exit 1; }
`;
const UNDOING = `rm -f -- "$at/open"
`;

type Journaled = (
  ground: Ground,
  made: Made,
  script: string,
  otherwise: string,
  report: StepReport,
  timeoutMs?: number,
  input?: string,
) => Promise<void>;

/** A script with the journal at hand, as root. */
const journaled = withJournal('', DOING);
/** The same, of what takes back: where there is no journal, there was nothing done. */
const undoing = withJournal('[ -d "$at" ] || exit 0\n', UNDOING);

function withJournal(before: string, after: string): Journaled {
  return async (ground, { directory }, script, ...rest) => {
    if (directory === undefined) return;
    const head = `set -eu\nexport LC_ALL=C\nat=${quoted(directory)}\n`;
    await rooted(ground, `${head}${before}${JOURNAL}${after}${script}`, ...rest);
  };
}

async function rooted(
  { machine, privilege }: Ground,
  script: string,
  otherwise: string,
  report: StepReport,
  timeoutMs?: number,
  input?: string,
): Promise<void> {
  const options = {
    timeoutMs: SCRIPT_MS,
    ...asked(report),
    heard: linesTo(report.said),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(input === undefined ? {} : { input }),
  };
  succeeded(await machine.run(privileged(script, privilege), options), otherwise);
}

async function lastWords({ machine, privilege, runner, plan }: Ground, report: StepReport): Promise<string> {
  try {
    const { stdout } = await machine.run(privileged(runner.lastWords(plan.layout), privilege), { timeoutMs: CALL_MS });
    for (const line of stdout.split('\n').slice(-16)) if (line !== '') report.said(line);
    const last = stdout.trim().split('\n').at(-1) ?? '';
    return plainText(last, 300);
  } catch {
    return '';
  }
}

function withLastWords(error: Error, words: string): Error {
  return words === '' ? error : failed(`${error.message}. Its log ends: ${words}`);
}

function asked({ signal }: StepReport): { readonly signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function call({ signal }: StepReport): { readonly timeoutMs: number; readonly signal?: AbortSignal } {
  return { timeoutMs: CALL_MS, ...(signal === undefined ? {} : { signal }) };
}

function succeeded(ran: Ran, otherwise: string): Ran {
  if (ran.code === 0) return ran;
  const said = reasonIn(ran.stderr || ran.stdout);
  throw failed(`${otherwise}: ${said === '' ? `a command there ended with ${ran.code}` : said}`);
}

/** Programs say why at the end, and Node.js where it was after that. */
function reasonIn(text: string): string {
  const lines = text.split('\n').filter((line) => !/^\s+at |^Node\.js v/.test(line));
  return plainText(lines.join('\n').slice(-400), 400);
}

/** Whole lines of what comes in pieces. */
function linesTo(said: (line: string) => void): (text: string) => void {
  let rest = '';
  return (text) => {
    const lines = (rest + text).split('\n');
    rest = (lines.pop() ?? '').slice(-1_000);
    for (const line of lines) if (line.trim() !== '') said(line);
  };
}

async function unlessGone(calling: Promise<unknown>): Promise<void> {
  try {
    await calling;
  } catch (error) {
    if ((error as Partial<AgentError>).code !== 'not_found') throw error;
  }
}

function failed(message: string): AgentError {
  return new AgentError('failed', message, [], undefined);
}
