// SPDX-License-Identifier: Apache-2.0
/** Agents elsewhere: `marcher target`, `login`, `logout`, `whoami`. */
import { type Command, Option } from 'commander';
import type { ProgramParts } from './program.js';

export function defineLogin(program: Command, { add, onAgent, output }: ProgramParts): void {
  const text = (command: Command): Command => command.addOption(output('text', 'json', 'yaml'));
  const target = program.command('target').description('agents on other machines, by name');
  target.addHelpText(
    'after',
    '\nExamples:\n  marcher target add prod --url https://192.0.2.1:7443 --ca-file ca.crt --use\n  marcher login\n  marcher target list',
  );
  add(
    target,
    'add <NAME>',
    'give an agent a name, with what it is known by',
    [
      'marcher target add prod --url https://192.0.2.1:7443 --ca-file ca.crt',
      'marcher target add prod --url https://192.0.2.1:7443 --mesh-root 4f1d…     # 64 digits: marcher mesh certificate roots',
      'marcher target add ci --url https://192.0.2.1:7443 --ca-file ca.crt --cert-file ci.crt --key-file ci.key',
      'marcher target add home --url ssh://alice@node1.example.org      # by SSH, to its socket',
      'marcher target add lab --url unix:/tmp/forwarded.sock --use',
    ],
    [],
    (command) =>
      text(
        command
          .addOption(new Option('--url <URL>', 'https://HOST:PORT, or unix:PATH').makeOptionMandatory())
          .option('--ca-file <FILE>', "who signed the agent's certificate: a copy is kept")
          .option('--mesh-root <FINGERPRINT>', 'SHA-256 of the root of its mesh, which the agent is asked for')
          .option('--cert-file <FILE>', 'your certificate')
          .option('--key-file <FILE>', 'its private key')
          .option('--node-id <ID>', 'the node that must answer (default: any of the mesh)')
          .option('--use', 'for all commands from now on'),
      ),
    async () => (await import('./commands/targets.js')).add,
  );
  add(
    target,
    'list',
    'list them, without tokens',
    ['marcher target list', 'marcher target list -o json'],
    [],
    (command) => command.addOption(output('table', 'json', 'yaml')),
    async () => (await import('./commands/targets.js')).list,
    { isDefault: true },
  );
  add(
    target,
    'use <NAME>',
    "say which one commands are for that name none; local is this machine's agent",
    ['marcher target use prod', 'marcher target use local'],
    ['target-name'],
    text,
    async () => (await import('./commands/targets.js')).use,
  );
  add(
    target,
    'remove <NAME>',
    'forget one, with its session',
    ['marcher logout -t prod && marcher target remove prod'],
    ['target-name'],
    text,
    async () => (await import('./commands/targets.js')).remove,
  );
  add(
    program,
    'login',
    'begin a session at an agent that has a name here; later commands use and renew it',
    [
      'marcher login',
      'marcher login -t prod --user alice',
      'pass show prod | marcher login --user alice --password-file -',
    ],
    [],
    (command) =>
      text(
        onAgent(command)
          .option('--user <NAME>', 'who you are there (default: it is asked for)')
          .option('--password-file <FILE>', 'its first line is the password; - reads standard input'),
      ),
    async () => (await import('./commands/login.js')).login,
  );
  add(
    program,
    'logout',
    'end the session, there and here',
    ['marcher logout', 'marcher logout -t prod'],
    [],
    (command) => text(onAgent(command)),
    async () => (await import('./commands/login.js')).logout,
  );
  add(
    program,
    'whoami',
    'who you are to the agent, and what you may do',
    ['marcher whoami', 'marcher whoami -t prod -o json'],
    [],
    (command) => text(onAgent(command)),
    async () => (await import('./commands/login.js')).whoAmI,
  );
}
