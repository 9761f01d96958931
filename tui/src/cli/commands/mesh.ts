// SPDX-License-Identifier: Apache-2.0
/** The mesh that the node is in, and its members. */

import type { AgentClient } from '@marcher/client';
import {
  type Cluster,
  type HeldCluster,
  LeaveMeshResponseSchema,
  type Member,
  MemberSchema,
  MemberState,
  type MemberStatus,
  type Mesh,
  MeshSchema,
} from '@marcher/proto/marcher/v1/mesh_service_pb';
import { confirm } from '../confirm.js';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';
import { age, plural, timeMs } from '../output/quantity.js';
import { writeMessage, writeMessages, writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { lastOf } from './cluster-loss.js';
import { writeTable } from './get.js';
import type { RootKeyOptions } from './root-key-file.js';

interface TextOptions extends TargetOptions {
  readonly output: 'text' | 'json' | 'yaml';
}

interface TableOptions extends TargetOptions {
  readonly output: 'table' | 'wide' | 'json' | 'yaml';
}

/** What these calls are given is from the command line, no configuration: where it is wrong, the line is. */
export async function asked<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const { code, message } = error as Error & { readonly code?: unknown };
    throw code === 'invalid' ? usage(message) : error;
  }
}

export async function init(session: Session, options: TextOptions & RootKeyOptions, name: string): Promise<undefined> {
  const agent = await session.agent(options);
  const offline = options.rootKeyOut !== undefined;
  if (!offline && (options.passphraseFile ?? options.days) !== undefined) {
    throw usage('--passphrase-file and --days are for a root that is kept offline: give --root-key-out FILE');
  }
  const mesh = meshOf(
    offline
      ? await initOffline(agent, session.call(options), options, name)
      : await asked(agent.mesh.initMesh({ name }, session.call(options))),
  );
  if (await writeMessage(session, options, MeshSchema, mesh)) return;
  await session.write(`This node, ${mesh.nodeId}, is the first of mesh ${mesh.meshName} (${mesh.meshId}).\n`);
  process.stderr.write('Another machine is let in with a token: marcher mesh token\n');
  if (!offline) return;
  process.stderr.write(
    `The key of its root is in ${options.rootKeyOut}, and nowhere else: keep it and its passphrase apart, each in two places.\n`,
  );
}

async function initOffline(agent: AgentClient, call: { timeoutMs: number }, options: RootKeyOptions, name: string) {
  const { signedIntermediate, withNewRoot } = await import('./root-key-file.js');
  const requested = await asked(agent.mesh.requestMeshIntermediate({ name }, call));
  return await withNewRoot({ id: requested.meshId, name }, options, async (root) => {
    const intermediate = await signedIntermediate(root, requested, options);
    return await asked(agent.mesh.initMesh({ name, intermediate }, call));
  });
}

export async function status(session: Session, options: TextOptions): Promise<undefined> {
  const agent = await session.agent(options);
  const mesh = meshOf(await agent.mesh.getMesh({}, session.call(options)));
  if (await writeMessage(session, options, MeshSchema, mesh)) return;
  if (mesh.meshId === '') {
    await session.write('Mesh     none\n');
    process.stderr.write(
      'Make one of this node: marcher mesh init NAME. To join one: marcherd --join, with a token of it\n',
    );
    return;
  }
  const { style } = session;
  const { members } = await agent.mesh.listMembers({}, session.call(options));
  const lines: [string, string][] = [
    ['Mesh', `${printable(mesh.meshName)} (${mesh.meshId})`],
    ['Node', `${mesh.nodeId}: ${mesh.admitted ? style.green('admitted') : style.yellow(ADMISSION)}`],
    ['Members', membersText(members)],
    ['Config', mesh.configHash === '' ? '-' : mesh.configHash.slice(0, 12)],
    ...mesh.clusters.map((cluster): [string, string] => ['Cluster', clusterText(cluster)]),
    ['Signs', mesh.signs ? 'yes: machines can join by this node' : "no: machines join by a node that has the CA's key"],
  ];
  await session.write(lines.map(([title, text]) => `${title.padEnd(8)} ${text}\n`).join(''));
}

/** "eu, 3f0c61d2e95b" */
function clusterText({ name, admitted, digest }: HeldCluster): string {
  return `${printable(name)}, ${admitted ? digest : 'still taking over what is in it'}`;
}

const ADMISSION = "still taking over the mesh's state";

/** "prod, node 00c0ffee00c0ffee, config 7fcbb9022c51", as `marcher status` shows it. */
export function meshText({ meshName, nodeId, admitted, configHash }: Mesh): string {
  const config = configHash === '' ? '' : `, config ${configHash.slice(0, 12)}`;
  return `${printable(meshName)}, node ${nodeId}${config}${admitted ? '' : `, ${ADMISSION}`}`;
}

/** "3: 2 alive, 1 dead"; this node, which answers, is alive. */
function membersText(all: readonly Member[]): string {
  const members = all.filter(({ state }) => state !== MemberState.DEPARTED);
  const counts = new Map<string, number>();
  for (const { state } of members) {
    const text = state === MemberState.SELF ? 'alive' : stateText(state);
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return `${members.length}: ${[...counts].map(([text, count]) => `${count} ${text}`).join(', ')}`;
}

export async function members(session: Session, options: TableOptions): Promise<undefined> {
  const agent = await session.agent(options);
  const { members: all } = await agent.mesh.listMembers({}, session.call(options));
  if (await writeMessages(session, options, MemberSchema, all)) return;
  const clustered = all.some(({ clusters }) => clusters.length > 0);
  await writeTable(session, columns(session, options.output === 'wide', clustered), all, 'members');
}

/** clustered: some node is in a cluster. */
function columns({ style }: Session, wide: boolean, clustered: boolean): Column<Member>[] {
  const now = Date.now();
  const bad = new Set([MemberState.DEAD, MemberState.SUSPECT]);
  return [
    { title: 'NAME', value: ({ name }) => name },
    { title: 'ID', value: ({ nodeId }) => nodeId },
    {
      title: 'STATE',
      value: ({ state }) => stateText(state),
      paint: (text, { state }) => (bad.has(state) ? style.red(text) : text),
    },
    { title: 'ADDRESS', value: ({ address }) => address || '-' },
    { title: 'BEHIND', value: ({ behind }) => (behind === undefined ? '-' : String(behind)), align: 'right' },
    {
      title: 'CERTIFICATE',
      value: ({ certificateExpires }) => {
        const expires = timeMs(certificateExpires);
        if (expires === undefined) return '-';
        return expires > now ? age(expires - now) : 'expired';
      },
      paint: (text) => (text === 'expired' ? style.red(text) : text),
    },
    ...(clustered
      ? [{ title: 'CLUSTERS', value: ({ clusters }: Member) => clusters.map(printable).join(', ') || '-' }]
      : []),
    {
      title: 'HEALTH',
      value: ({ status }) => healthText(status),
      paint: (text) => (text === 'ready' || text === '-' ? text : style.yellow(text)),
    },
    ...(wide
      ? ([
          {
            title: 'CONNECTIONS',
            value: ({ status }) => (status === undefined ? '-' : String(status.connections)),
            align: 'right',
          },
          { title: 'TIERS', value: ({ status }) => tiersText(status) },
          { title: 'VERSION', value: ({ status }) => status?.version || '-' },
          { title: 'SAID', value: ({ status }) => saidText(status, now) },
        ] satisfies Column<Member>[])
      : []),
  ];
}

/** As the node has said it: "ready", "draining", "not ready", "ready, 2 backends unhealthy", "ready, ListenersBound unmet". */
function healthText(status: MemberStatus | undefined): string {
  if (status === undefined) return '-';
  const { ready, draining, unhealthyCount, unmet } = status;
  const short = [
    ...(unhealthyCount === 0 ? [] : [`${plural(unhealthyCount, 'backend')} unhealthy`]),
    ...unmet.filter((type) => !(draining && type === 'InService')).map((type) => `${printable(type)} unmet`),
  ];
  return [draining ? 'draining' : ready ? 'ready' : 'not ready', ...short.slice(0, 2)].join(', ');
}

/** "2 xdp, 40 relay" */
function tiersText(status: MemberStatus | undefined): string {
  return (status?.tiers ?? []).map(({ tier, services }) => `${services} ${printable(tier)}`).join(', ') || '-';
}

/** How long ago: what has not changed is not said again. */
function saidText(status: MemberStatus | undefined, now: number): string {
  const said = timeMs(status?.said);
  return said === undefined ? '-' : age(Math.max(0, now - said));
}

function stateText(state: MemberState): string {
  return (MemberState[state] ?? String(state)).toLowerCase();
}

export async function remove(
  session: Session,
  options: TextOptions & { readonly yes?: boolean; readonly keepKeys?: boolean },
  node: string,
): Promise<undefined> {
  const agent = await session.agent(options);
  const call = session.call(options);
  const member = theOne((await agent.mesh.listMembers({}, call)).members, node);
  const { nodeId, name } = member;
  if (options.yes !== true) {
    const how = `which is ${stateText(member.state)} at ${member.address || 'no address'}`;
    const gone = await lostWith(agent.mesh.listClusters({}, call), nodeId);
    await confirm(`Remove ${name} (${nodeId}), ${how}? It is let in again only with another token.${gone}`);
  }
  await asked(agent.mesh.removeMember({ node: nodeId, keepGossipKeys: options.keepKeys === true }, call));
  if (options.output === 'text')
    await session.write(
      `Removed ${printable(name)} (${nodeId}): its certificate is revoked${options.keepKeys === true ? '' : ', and gossip gets another key'}.\n`,
    );
  else await writeValue(session, options.output, { nodeId, name });
}

export async function leave(
  session: Session,
  options: TextOptions & { readonly yes?: boolean; readonly force?: boolean },
): Promise<undefined> {
  const agent = await session.agent(options);
  const call = session.call(options);
  const { meshId, meshName, nodeId } = meshOf(await agent.mesh.getMesh({}, call));
  if (meshId === '') throw new Failure(ExitCode.refused, 'this node is in no mesh');
  if (options.yes !== true) {
    const keeps = 'This node goes on alone, with the configuration that it has';
    const gone = await lostWith(agent.mesh.listClusters({}, call), nodeId);
    await confirm(`Leave mesh ${meshName}? ${keeps}, and is let in again only with another token.${gone}`);
  }
  const left = await asked(agent.mesh.leaveMesh({ force: options.force === true }, call));
  if (await writeMessage(session, options, LeaveMeshResponseSchema, left)) return;
  await session.write(
    `Left mesh ${printable(left.meshName)}. What this node was in it is kept in ${printable(left.identityPath)}.\n`,
  );
  if (left.told) return;
  process.stderr.write(
    'No other member is known to have heard of it: where it is still listed, remove it with marcher mesh remove\n',
  );
}

/** What the mesh loses with a node, with a space before it; empty: nothing. An agent of before there were clusters has none. */
async function lostWith(asking: Promise<{ readonly clusters: readonly Cluster[] }>, nodeId: string): Promise<string> {
  const { clusters } = await asking.catch(() => ({ clusters: [] }));
  const last = lastOf(clusters, nodeId);
  return last === '' ? '' : ` ${last}`;
}

/** Whoever has that id, or else that name, if it is but one. */
export function theOne(all: readonly Member[], node: string): Member {
  const byId = all.find(({ nodeId }) => nodeId === node);
  const named = byId === undefined ? all.filter(({ name }) => name === node) : [byId];
  const [member] = named;
  if (member === undefined) {
    throw new Failure(ExitCode.notFound, `there is no member "${node}": see marcher mesh members`);
  }
  if (named.length === 1) return member;
  const ids = named.map(({ nodeId }) => nodeId).join(', ');
  throw usage(`${plural(named.length, 'member')} are named "${node}": name one by its id: ${ids}`);
}

function meshOf({ mesh }: { readonly mesh?: Mesh | undefined }): Mesh {
  if (mesh === undefined) throw new Failure(ExitCode.error, 'the agent answered without saying what mesh it is in');
  return mesh;
}
