// SPDX-License-Identifier: Apache-2.0
/** The commands below `marcher audit`. */
import { type Command, Option } from 'commander';
import type { ProgramParts } from './program.js';

export function defineAudit(program: Command, { add, onAgent, onMember, output }: ProgramParts): void {
  const audit = program.command('audit').description('who has changed what on the node, and who was denied');
  audit.addHelpText(
    'after',
    '\nExamples:\n  marcher audit list --since 1h\n  marcher audit verify\n  marcher audit export --file node1.jsonl',
  );
  add(
    audit,
    'list',
    'list changes and denied attempts, the newest first',
    [
      'marcher audit list --since 1h',
      'marcher audit list --outcome denied',
      'marcher audit list --object web --action Apply        # who changed the service web',
      'marcher audit list --actor "root (uid 0)" -n 500 -o json',
    ],
    [],
    (command) =>
      onMember(command)
        .option('-n, --limit <COUNT>', 'how many, at most 100000', '50')
        .option('--since <TIME>', 'not before: so long ago (30m, 12h, 7d), or a time (2026-11-22T08:00:00Z)')
        .option('--until <TIME>', 'before: likewise')
        .option('--actor <NAME>', 'of this one, as the list names them')
        .option('--action <ACTION>', 'of actions that begin so: "ConfigService", "Apply"')
        .addOption(new Option('--outcome <OUTCOME>', 'with this outcome').choices(['done', 'denied', 'failed']))
        .option('--object <NAME>', 'on this object: "Service/web", or "web" of any kind')
        .addOption(output('table', 'json', 'yaml')),
    async () => (await import('./commands/audit.js')).list,
  );
  add(
    audit,
    'verify',
    'check that no record was changed, left out or put in; ends with 11 when one was',
    [
      'marcher audit verify',
      'marcher audit verify --file node1.jsonl                # an export, without an agent',
      'marcher audit verify --file node1.jsonl node2.jsonl    # with what node2 knows of node1, and the reverse',
    ],
    [],
    (command) =>
      onMember(command)
        .option('-f, --file <FILE...>', 'exports to check in place of the log of the agent; - reads standard input')
        .addOption(output('text', 'json', 'yaml')),
    async () => (await import('./commands/audit-verify.js')).verify,
  );
  add(
    audit,
    'export',
    'print the whole log, a JSON object per line, with what is needed to verify it elsewhere',
    [
      'marcher audit export --file node1.jsonl                # a new file, which nobody else can read',
      'marcher audit export | jq -r \'select(.outcome == "denied") | .actor\' | sort | uniq -c',
    ],
    [],
    (command) => onAgent(command).option('-f, --file <FILE>', 'write there; must not be there yet'),
    async () => (await import('./commands/audit-export.js')).exportAudit,
  );
}
