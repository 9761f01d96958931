// SPDX-License-Identifier: Apache-2.0
/** The commands below `marcher cluster`. */
import type { Command } from 'commander';
import type { ProgramParts } from './program.js';

export function defineClusters(program: Command, { add, onAgent, output }: ProgramParts): void {
  const cluster = program.command('cluster').description('clusters of the mesh: which nodes hold and serve what');
  cluster.addHelpText(
    'after',
    '\nExamples:\n  marcher cluster create eu\n  marcher cluster assign node1 eu\n  marcher cluster list',
  );
  const onText = (command: Command): Command => onAgent(command).addOption(output('text', 'json', 'yaml'));
  add(
    cluster,
    'list',
    'list them, with the nodes that are in them',
    ['marcher cluster', "marcher cluster list -o json | jq -r '.[].name'"],
    [],
    (command) => onAgent(command).addOption(output('table', 'json', 'yaml')),
    async () => (await import('./commands/clusters.js')).list,
    { isDefault: true },
  );
  add(
    cluster,
    'create <NAME>',
    'make one, without nodes',
    ['marcher cluster create eu'],
    [],
    onText,
    async () => (await import('./commands/clusters.js')).create,
  );
  add(
    cluster,
    'delete <NAME>',
    'remove one; its nodes stay in the mesh',
    ['marcher cluster delete eu', 'marcher cluster delete eu --yes --force   # with all that is in it'],
    ['cluster'],
    (command) =>
      onText(
        command.option('-y, --yes', 'do not ask').option('--force', 'also with something in it, which is gone then'),
      ),
    async () => (await import('./commands/clusters.js')).remove,
  );
  add(
    cluster,
    'assign <NODE> <CLUSTER...>',
    'put a node into clusters: it takes over what is in them, and serves it',
    ['marcher cluster assign node1 eu', 'marcher cluster assign node2 eu us'],
    ['mesh-node', 'cluster'],
    (command) =>
      onText(command.option('--begin', 'with nothing in them: nodes that have what was in them will not come back')),
    async () => (await import('./commands/clusters.js')).assign,
  );
  add(
    cluster,
    'unassign <NODE> <CLUSTER...>',
    'take a node out of clusters: it serves what is in them no more, and forgets it',
    ['marcher cluster unassign node1 eu', 'marcher cluster unassign node1 eu --yes --force   # also as the last one'],
    ['mesh-node', 'cluster'],
    (command) =>
      onText(
        command
          .option('-y, --yes', 'do not ask')
          .option('--force', 'also as the last one: what is in them is gone then'),
      ),
    async () => (await import('./commands/clusters.js')).unassign,
  );
}
