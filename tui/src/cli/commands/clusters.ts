// SPDX-License-Identifier: Apache-2.0
/** Clusters of the mesh, and which nodes are in them. Before something is gone, it is said what. */
import { type Cluster, ClusterSchema, MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { confirm } from '../confirm.js';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import { clock, timeMs } from '../output/quantity.js';
import { writeMessages, writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { lastOf, whatGoes } from './cluster-loss.js';
import { writeTable } from './get.js';
import { asked, theOne } from './mesh.js';

interface TextOptions extends TargetOptions {
  readonly output: 'text' | 'json' | 'yaml';
}

interface GoneOptions extends TextOptions {
  readonly yes?: boolean;
  readonly force?: boolean;
}

export async function list(
  session: Session,
  options: TargetOptions & { readonly output: 'table' | 'json' | 'yaml' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const { clusters } = await agent.mesh.listClusters({}, session.call(options));
  if (await writeMessages(session, options, ClusterSchema, clusters)) return;
  await writeTable(session, columns(), clusters, 'clusters');
}

function columns(): Column<Cluster>[] {
  return [
    { title: 'NAME', value: ({ name }) => name },
    { title: 'NODES', value: ({ nodes }) => nodes.map(nodeText).join(', ') || '-' },
    { title: 'OBJECTS', value: ({ objects }) => (objects === undefined ? '-' : String(objects)), align: 'right' },
    { title: 'CREATED', value: ({ created }) => clock(timeMs(created)) },
    { title: 'BY', value: ({ createdBy }) => createdBy || '-' },
  ];
}

/** "node1", "node2 (dead)" */
function nodeText({ name, state }: Cluster['nodes'][number]): string {
  const there = state === MemberState.SELF || state === MemberState.ALIVE;
  return there ? name : `${name} (${(MemberState[state] ?? String(state)).toLowerCase()})`;
}

export async function create(session: Session, options: TextOptions, name: string): Promise<undefined> {
  const agent = await session.agent(options);
  await asked(agent.mesh.createCluster({ name }, session.call(options)));
  if (options.output !== 'text') {
    await writeValue(session, options.output, { name });
    return;
  }
  await session.write(`Made cluster ${printable(name)}.\n`);
  process.stderr.write(`No node is in it yet: marcher cluster assign NODE ${printable(name)}\n`);
}

export async function remove(session: Session, options: GoneOptions, name: string): Promise<undefined> {
  const agent = await session.agent(options);
  const call = session.call(options);
  const { clusters } = await agent.mesh.listClusters({}, call);
  const cluster = clusters.find((one) => one.name === name);
  if (cluster === undefined) throw noCluster(name);
  if (options.yes !== true) await confirm(`Delete cluster ${name}? ${whatGoes(cluster)}`);
  await asked(agent.mesh.deleteCluster({ name, force: options.force === true }, call));
  if (options.output === 'text') await session.write(`Deleted cluster ${printable(name)}.\n`);
  else await writeValue(session, options.output, { name });
}

export async function assign(
  session: Session,
  options: TextOptions & { readonly begin?: boolean },
  node: string,
  clusters: readonly string[],
): Promise<undefined> {
  const agent = await session.agent(options);
  const request = { node, clusters: [...clusters], begin: options.begin === true };
  await asked(agent.mesh.assignClusters(request, session.call(options)));
  if (options.output === 'text') {
    await session.write(`Node ${printable(node)} is in ${clusters.map(printable).join(', ')}.\n`);
  } else await writeValue(session, options.output, { node, clusters });
}

export async function unassign(
  session: Session,
  options: GoneOptions,
  node: string,
  names: readonly string[],
): Promise<undefined> {
  const agent = await session.agent(options);
  const call = session.call(options);
  const { nodeId, name } = theOne((await agent.mesh.listMembers({}, call)).members, node);
  const { clusters } = await agent.mesh.listClusters({}, call);
  for (const wanted of names) if (!clusters.some((one) => one.name === wanted)) throw noCluster(wanted);
  if (options.yes !== true) {
    const last = lastOf(
      clusters.filter((one) => names.includes(one.name)),
      nodeId,
    );
    const gone = last === '' ? '' : ` ${last}`;
    await confirm(`Take node ${name} out of ${names.join(', ')}? It stops serving what is in there.${gone}`);
  }
  await asked(agent.mesh.unassignClusters({ node: nodeId, clusters: [...names], force: options.force === true }, call));
  if (options.output === 'text') {
    await session.write(`Node ${printable(name)} is out of ${names.map(printable).join(', ')}.\n`);
  } else await writeValue(session, options.output, { node: nodeId, clusters: names });
}

function noCluster(name: string): Failure {
  return new Failure(ExitCode.notFound, `there is no cluster "${name}": see marcher cluster list`);
}
