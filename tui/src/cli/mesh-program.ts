// SPDX-License-Identifier: Apache-2.0
/** The commands below `marcher mesh`. */
import { type Command, Option } from 'commander';
import type { ProgramParts } from './program.js';

export function defineMesh(program: Command, { add, onAgent, output }: ProgramParts): void {
  const mesh = program.command('mesh').description('make a mesh of nodes, let machines in, see who is in it');
  mesh.addHelpText(
    'after',
    '\nExamples:\n  marcher mesh init prod\n  marcher mesh token > token.txt\n  marcher mesh members\n' +
      '  marcher mesh remove node3',
  );
  const onText = (command: Command): Command => onAgent(command).addOption(output('text', 'json', 'yaml'));
  const onTable = (command: Command): Command => onAgent(command).addOption(output('table', 'json', 'yaml'));
  add(
    mesh,
    'init <NAME>',
    'make a mesh of this node and its configuration',
    [
      'marcher mesh init prod',
      'marcher mesh init eu-1 -o json',
      "marcher mesh init prod --root-key-out /media/usb/prod-root.key   # the root's key stays there, and on no node",
    ],
    [],
    (command) =>
      onText(
        command
          .option(
            '--root-key-out <FILE>',
            "write the root's key there, sealed by a passphrase; the node has an intermediate's",
          )
          .option('--passphrase-file <FILE>', "first line: the key file's passphrase; else asked for")
          .option('--days <COUNT>', 'how long the intermediate lasts, 1 to 1825: else 1095'),
      ),
    async () => (await import('./commands/mesh.js')).init,
  );
  add(
    mesh,
    'status',
    'what mesh the node is in, and how far it has come',
    ['marcher mesh status', 'marcher mesh status -o json | jq -r .configHash      # equal on all that have the same'],
    [],
    onText,
    async () => (await import('./commands/mesh.js')).status,
  );
  add(
    mesh,
    'token',
    'make a token that lets one machine in, once, and print it',
    [
      'marcher mesh token',
      '(umask 077; marcher mesh token --ttl 10m > token.txt)   # the token alone; how to use it is on standard error',
      'marcher mesh token --cluster eu                         # for a node of that cluster',
      "marcher mesh token --role authority                     # for a node that is to hold the CA's key",
      'marcherd --mesh 192.0.2.2:7400 --join 192.0.2.1:7400 --join-token-file token.txt    # there, then',
    ],
    [],
    (command) =>
      onText(
        command
          .option('--ttl <TIME>', 'how long it can be used: 1m to 168h', '1h')
          .option('--cluster <NAME...>', 'that the node is to be in')
          .addOption(
            new Option('--role <ROLE>', 'of the node that joins').choices(['member', 'authority']).default('member'),
          ),
      ),
    async () => (await import('./commands/mesh-tokens.js')).createToken,
  );
  const tokens = mesh.command('tokens').description('list the join tokens that this node made, or take one back');
  tokens.addHelpText(
    'after',
    '\nExamples:\n  marcher mesh tokens\n  marcher mesh tokens -o json\n  marcher mesh tokens revoke 5a0b7d1e93c4f286',
  );
  add(
    tokens,
    'list',
    'list them, without what lets anybody in',
    ['marcher mesh tokens', 'marcher mesh tokens list -o json'],
    [],
    onTable,
    async () => (await import('./commands/mesh-tokens.js')).listTokens,
    { isDefault: true },
  );
  add(
    tokens,
    'revoke <ID>',
    'take a token back; a node that has joined by it stays',
    ['marcher mesh tokens revoke 5a0b7d1e93c4f286'],
    ['join-token'],
    onText,
    async () => (await import('./commands/mesh-tokens.js')).revokeToken,
  );
  add(
    mesh,
    'members',
    'list the nodes of the mesh, as this one sees them',
    [
      'marcher mesh members',
      'marcher mesh members -o wide',
      'marcher mesh members -o json | jq -r \'.[] | select(.behind != "0") | .name\'',
    ],
    [],
    (command) => onAgent(command).addOption(output('table', 'wide', 'json', 'yaml')),
    async () => (await import('./commands/mesh.js')).members,
  );
  add(
    mesh,
    'remove <NODE>',
    'take a node out of the mesh: it is forgotten, and its certificate revoked',
    ['marcher mesh remove node3', 'marcher mesh remove 00c0ffee00c0ffee --yes'],
    ['member'],
    (command) =>
      onText(
        command
          .option('-y, --yes', 'do not ask')
          .option('--keep-keys', 'do not give gossip a new key, though the node has the one in use'),
      ),
    async () => (await import('./commands/mesh.js')).remove,
  );
  add(
    mesh,
    'leave',
    'take this node out of the mesh; it goes on alone, with the configuration that it has',
    ['marcher mesh leave', 'marcher mesh leave --yes --force      # also when nobody can be told of it'],
    [],
    (command) =>
      onText(
        command
          .option('-y, --yes', 'do not ask')
          .option('--force', "also as the only one that holds the CA's key, or when no other member answers"),
      ),
    async () => (await import('./commands/mesh.js')).leave,
  );
  const keys = mesh
    .command('keys')
    .description('the keys that gossip is sealed by: list them, or change the one in use');
  keys.addHelpText('after', '\nExamples:\n  marcher mesh keys rotate\n  marcher mesh keys list');
  add(
    keys,
    'list',
    'list them by fingerprint: who has which, and how far a change is',
    ['marcher mesh keys', 'marcher mesh keys list -o json | jq -r .state'],
    [],
    onTable,
    async () => (await import('./commands/mesh-keys.js')).list,
    { isDefault: true },
  );
  add(
    keys,
    'rotate',
    'give gossip a new key, at all members, without a gap',
    ['marcher mesh keys rotate'],
    [],
    onText,
    async () => (await import('./commands/mesh-keys.js')).rotate,
  );
  const ca = mesh.command('ca').description("the mesh's CA: which roots sign and are trusted, and how one takes over");
  ca.addHelpText(
    'after',
    '\nExamples:\n  marcher mesh ca\n  marcher mesh ca rotate --overlap 72h\n  marcher mesh ca retire 4f0c1a77d2e845b6 --force',
  );
  add(
    ca,
    'status',
    'list the roots: which signs, who trusts it, and which certificates need it',
    ['marcher mesh ca', "marcher mesh ca status -o json | jq -r '.roots[0].leaves[] | .member + .user'"],
    [],
    onTable,
    async () => (await import('./commands/mesh-ca.js')).status,
    { isDefault: true },
  );
  add(
    ca,
    'rotate',
    'make a new root, which takes over without anybody being refused',
    [
      'marcher mesh ca rotate',
      'marcher mesh ca rotate --overlap 72h',
      'marcher mesh ca rotate --now         # as soon as all members that are there trust it',
      'marcher mesh ca rotate --root-key /media/usb/prod-root.key      # another intermediate',
      'marcher mesh ca rotate --root-key-out /media/usb/prod-root.key  # from now on the key of the root is at no node',
    ],
    [],
    (command) =>
      onText(
        command
          .option('--overlap <TIME>', 'how long it is only trusted, up to 720h', '24h')
          .option('--now', 'let it sign as soon as all members that are there trust it; also one that was made before')
          .option('--root-key <FILE>', 'of a root that is kept offline: it signs an intermediate, which takes over')
          .option('--root-key-out <FILE>', 'make a root whose key is kept there; with --root-key, that introduces it')
          .option('--passphrase-file <FILE>', 'first line: the passphrase of the key files; else asked for')
          .option('--new-passphrase-file <FILE>', 'first line: that of --root-key-out, where it is another')
          .option('--days <COUNT>', 'how long the intermediate lasts, 1 to 1825: else 1095'),
      ),
    async () => (await import('./commands/mesh-ca.js')).rotate,
  );
  add(
    ca,
    'retire <ROOT>',
    'trust an older root no more, before that happens by itself',
    ['marcher mesh ca retire 4f0c1a77d2e845b6', 'marcher mesh ca retire 4f0c1a77 --yes --force   # its key was stolen'],
    ['root'],
    (command) =>
      onText(
        command
          .option('-y, --yes', 'do not ask')
          .option('--force', 'also while certificates in use are signed by it: whoever has one is cut off')
          .option(
            '--root-key <FILE>',
            'of an intermediate: have its offline root revoke it, for those who hear of nothing else',
          )
          .option('--passphrase-file <FILE>', "first line: the key file's passphrase; else asked for"),
      ),
    async () => (await import('./commands/mesh-ca.js')).retire,
  );
  const certificate = mesh
    .command('certificate')
    .description('certificates by which operators on other machines say who they are');
  certificate.addHelpText(
    'after',
    '\nExamples:\n  marcher mesh certificate\n  marcher mesh certificate issue alice --days 30 --out ~/.config/marcher\n' +
      '  marcher mesh certificate revoke 5a0b7d1e93c4f2865a0b7d1e93c4f286\n  marcher mesh certificate roots > ca.crt',
  );
  add(
    certificate,
    'list',
    'list those that were issued anywhere in the mesh, expired ones for 30 days',
    ['marcher mesh certificate', 'marcher mesh certificate list -o json'],
    [],
    onTable,
    async () => (await import('./commands/mesh-certificates.js')).list,
    { isDefault: true },
  );
  add(
    certificate,
    'issue <USER>',
    "make a key here, have a node that holds the CA's key sign its certificate, and write both",
    ['marcher mesh certificate issue alice', 'marcher mesh certificate issue ci --days 7 --out /etc/ci/marcher'],
    [],
    (command) =>
      onText(
        command
          .option('--days <COUNT>', 'how long it lasts, 1 to 365', '90')
          .option('--out <DIR>', 'where USER.crt, USER.key and ca.crt are written', '.'),
      ),
    async () => (await import('./commands/mesh-certificates.js')).issue,
  );
  add(
    certificate,
    'revoke <SERIAL>',
    'let nobody in by a certificate any more',
    ['marcher mesh certificate revoke 5a0b7d1e93c4f2865a0b7d1e93c4f286'],
    ['client-certificate'],
    onText,
    async () => (await import('./commands/mesh-certificates.js')).revoke,
  );
  add(
    certificate,
    'roots',
    'print the roots of the mesh, for --ca-file of those who have a token',
    ['marcher mesh certificate roots > ca.crt'],
    [],
    onAgent,
    async () => (await import('./commands/mesh-certificates.js')).roots,
  );
}
