// SPDX-License-Identifier: Apache-2.0
/** The commands below `marcher certificate`. */
import { type Command, Option } from 'commander';
import type { ProgramParts } from './program.js';

const USAGES = ['server', 'client', 'both'];
const REASONS = ['unspecified', 'key-compromise', 'superseded', 'cessation-of-operation', 'privilege-withdrawn'];

export function defineCertificates(program: Command, { add, onAgent, output }: ProgramParts): void {
  const onText = (command: Command): Command => onAgent(command).addOption(output('text', 'json', 'yaml'));
  const reason = (flags: string, text: string): Option => new Option(flags, text).choices(REASONS);

  const certificate = program
    .command('certificate')
    .description('certificates of services and their keys, which all nodes of the mesh have');
  certificate.addHelpText(
    'after',
    '\nExamples:\n  marcher certificate\n  marcher certificate issue api --san api.example.org\n' +
      '  marcher certificate import shop --certificate fullchain.pem --private-key privkey.pem',
  );
  add(
    certificate,
    'list',
    'list them, those that end first at the top',
    [
      'marcher certificate',
      'marcher certificate list -o wide',
      'marcher certificate list -o json | jq -r \'.[] | select(.notAfter < "2027") | .name\'',
    ],
    [],
    (command) => onAgent(command).addOption(output('table', 'wide', 'json', 'yaml')),
    async () => (await import('./commands/certificates.js')).list,
    { isDefault: true },
  );
  add(
    certificate,
    'show <NAME>',
    'show one of them, without its key',
    ['marcher certificate show api', 'marcher certificate show api -o json'],
    ['certificate'],
    onText,
    async () => (await import('./commands/certificates.js')).show,
  );
  add(
    certificate,
    'issue <NAME>',
    "have the mesh's CA issue one, which is renewed by itself",
    [
      'marcher certificate issue api --san api.example.org --san 10.0.0.1',
      "marcher certificate issue internal --san '*.internal.example.org' --days 90 --usage both",
    ],
    [],
    (command) =>
      onText(
        command
          .requiredOption('--san <NAME...>', 'a DNS name, such as *.example.org, or an IP address that it is for')
          .option('--days <COUNT>', 'how long each lasts, 1 to 365; at half of that comes the next', '365')
          .addOption(new Option('--usage <USAGE>', 'whom it is for').choices(USAGES).default('server')),
      ),
    async () => (await import('./commands/certificates.js')).issue,
  );
  add(
    certificate,
    'import <NAME>',
    'bring one from elsewhere, with its key',
    [
      'marcher certificate import shop --certificate fullchain.pem --private-key privkey.pem',
      'marcher certificate import shop --certificate shop.crt --chain ca.crt --private-key shop.key --replace',
    ],
    [],
    (command) =>
      onText(
        command
          .requiredOption('--certificate <FILE>', 'PEM: the certificate, and those of its issuers; or DER')
          .requiredOption('--private-key <FILE>', 'its private key, PEM or DER')
          .option('--chain <FILE>', 'PEM: certificates of its issuers, where they are not with it')
          .option('--passphrase-file <FILE>', 'its first line opens the key; else it is asked for')
          .option('--replace', 'in the place of an imported one of that name'),
      ),
    async () => (await import('./commands/certificate-files.js')).importCertificate,
  );
  add(
    certificate,
    'export <NAME>',
    'write one into a file, and its key where that is asked for',
    [
      'marcher certificate export api > api.pem',
      'marcher certificate export api --certificate api.pem --private-key api.key    # for administrators; audited',
    ],
    ['certificate'],
    (command) =>
      onAgent(command)
        .option('--certificate <FILE>', 'for the chain (default: standard output)')
        .option('--private-key <FILE>', 'for the key, which only its owner can read then')
        .option('--force', 'also over files that are there'),
    async () => (await import('./commands/certificate-files.js')).exportCertificate,
  );
  add(
    certificate,
    'renew <NAME>',
    'give one that was issued another key and certificate now',
    ['marcher certificate renew api', 'marcher certificate renew api --revoke key-compromise'],
    ['certificate'],
    (command) =>
      onText(command.addOption(reason('--revoke [REASON]', 'and revoke those before it').preset('superseded'))),
    async () => (await import('./commands/certificates.js')).renew,
  );
  add(
    certificate,
    'revoke <NAME>',
    'revoke one that was issued; nodes take it away from their programs',
    ['marcher certificate revoke api --reason key-compromise', 'marcher certificate revoke api --yes'],
    ['certificate'],
    (command) =>
      onText(
        command.addOption(reason('--reason <REASON>', 'why').default('unspecified')).option('-y, --yes', 'do not ask'),
      ),
    async () => (await import('./commands/certificates.js')).revoke,
  );
  add(
    certificate,
    'delete <NAME>',
    'forget one and its key at all nodes; it stays good for whoever has it',
    ['marcher certificate delete api', 'marcher certificate delete api --yes'],
    ['certificate'],
    (command) => onText(command.option('-y, --yes', 'do not ask')),
    async () => (await import('./commands/certificates.js')).remove,
  );
}
