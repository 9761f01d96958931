// SPDX-License-Identifier: Apache-2.0
/** The commands below `marcher user` and `marcher key`. */
import { type Argument, type Command, Option } from 'commander';
import type { ProgramParts } from './program.js';

const ROLES = ['administrator', 'owner', 'viewer'];

export function defineAccess(program: Command, { add, onAgent, output }: ProgramParts): void {
  const onText = (command: Command): Command => onAgent(command).addOption(output('text', 'json', 'yaml'));
  const onTable = (command: Command): Command => onAgent(command).addOption(output('table', 'json', 'yaml'));
  const scoped = (command: Command): Command =>
    command
      .option('--cluster <NAME...>', 'of an owner: services and traffic policies of these clusters')
      .option('--service <NAME...>', 'of an owner: these services');
  const withRole = (command: Command): Command =>
    scoped(command.addOption(new Option('--role <ROLE>', 'what it may do').choices(ROLES).makeOptionMandatory()));
  const withPassword = (command: Command): Command =>
    command.option('--password-file <FILE>', 'its first line is the password; - reads standard input');

  const user = program.command('user').description('who may use the API from elsewhere: users of the mesh');
  user.addHelpText(
    'after',
    '\nExamples:\n  marcher user list\n  marcher user add alice --role administrator\n  marcher user totp alice',
  );
  add(
    user,
    'list',
    'list the users',
    ['marcher user list', 'marcher user list -o json'],
    [],
    onTable,
    async () => (await import('./commands/users.js')).list,
    { isDefault: true },
  );
  add(
    user,
    'add <NAME>',
    'create a user; the password is asked for',
    [
      'marcher user add alice --role administrator',
      'marcher user add bob --role owner --cluster eu --service web',
      'pass show marcher/carol | marcher user add carol --role viewer --password-file -',
      'marcher user add dora --role viewer --no-password      # comes with a client certificate',
    ],
    [],
    (command) => onText(withPassword(withRole(command)).option('--no-password', 'none: for client certificates')),
    async () => (await import('./commands/users.js')).create,
  );
  add(
    user,
    'role <NAME> <ROLE>',
    'give a user another role, or another scope',
    ['marcher user role alice viewer', 'marcher user role bob owner --cluster eu us'],
    ['user'],
    (command) => {
      const role = command.registeredArguments[1] as Argument;
      role.choices(ROLES);
      return onText(scoped(command));
    },
    async () => (await import('./commands/users.js')).setRole,
  );
  add(
    user,
    'password <NAME>',
    "change a user's password, which ends its sessions",
    ['marcher user password alice', 'marcher user password alice --reset-totp    # who has lost both'],
    ['user'],
    (command) => onText(withPassword(command).option('--reset-totp', 'take the second factor away, too')),
    async () => (await import('./commands/users.js')).setPassword,
  );
  add(
    user,
    'totp <NAME>',
    "enrol an authenticator as a user's second factor, or take it away",
    ['marcher user totp alice', 'marcher user totp alice --remove'],
    ['user'],
    (command) => onAgent(withPassword(command)).option('--remove', 'take it away, with the recovery codes'),
    async () => (await import('./commands/second-factor.js')).totp,
  );
  add(
    user,
    'recovery-codes <NAME>',
    'make new recovery codes in the place of those before',
    ['marcher user recovery-codes alice'],
    ['user'],
    (command) => onText(withPassword(command)),
    async () => (await import('./commands/second-factor.js')).recoveryCodes,
  );
  add(
    user,
    'logout <NAME>',
    'end all sessions of a user',
    ['marcher user logout alice'],
    ['user'],
    onText,
    async () => (await import('./commands/users.js')).logout,
  );
  add(
    user,
    'remove <NAME>',
    'remove a user, with its sessions',
    ['marcher user remove alice', 'marcher user remove alice --yes'],
    ['user'],
    (command) => onText(command.option('-y, --yes', 'do not ask')),
    async () => (await import('./commands/users.js')).remove,
  );

  const key = program.command('key').description('API keys, by which programs use the API from elsewhere');
  key.addHelpText(
    'after',
    '\nExamples:\n  marcher key list\n  marcher key create ci --role owner --cluster eu > key.txt\n' +
      '  marcher key rotate 5a0b7d1e93c4f286',
  );
  add(
    key,
    'list',
    'list the keys, without what lets anybody in',
    ['marcher key list', 'marcher key list -o json'],
    [],
    onTable,
    async () => (await import('./commands/api-keys.js')).list,
    { isDefault: true },
  );
  add(
    key,
    'create <NAME>',
    'make a key and print it, once',
    [
      '(umask 077; marcher key create ci --role owner --service web > key.txt)',
      'marcher key create dashboard --role viewer --ttl 90d -o json',
    ],
    [],
    (command) => onText(withRole(command).option('--ttl <TIME>', 'how long it is good for: 1h to 1095d', '365d')),
    async () => (await import('./commands/api-keys.js')).create,
  );
  add(
    key,
    'rotate <ID>',
    'give a key another secret and print it; the one before stays good for a while',
    ['(umask 077; marcher key rotate 5a0b7d1e93c4f286 > key.txt)', 'marcher key rotate 5a0b7d1e93c4f286 --overlap 0'],
    ['api-key'],
    (command) => onText(command.option('--overlap <TIME>', 'for how long: 0 to 30d', '24h')),
    async () => (await import('./commands/api-keys.js')).rotate,
  );
  add(
    key,
    'revoke <ID>',
    'make a key worthless',
    ['marcher key revoke 5a0b7d1e93c4f286', 'marcher key revoke 5a0b7d1e93c4f286 --yes'],
    ['api-key'],
    (command) => onText(command.option('-y, --yes', 'do not ask')),
    async () => (await import('./commands/api-keys.js')).revoke,
  );
}
