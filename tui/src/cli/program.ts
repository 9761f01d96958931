// SPDX-License-Identifier: Apache-2.0
/**
 * The commands, their flags and their examples: what `--help` prints and completion completes. What a command does is
 * in commands/ and probe/, loaded when it runs.
 */
import { Command, Option } from 'commander';
import { defineAccess } from './access-program.js';
import { withAcks } from './acks.js';
import { defineAudit } from './audit-program.js';
import { defineCertificates } from './certificate-program.js';
import { defineClusters } from './cluster-program.js';
import type { ExitCode } from './exit-code.js';
import { exitCodeText } from './exit-code.js';
import { usage as misuse } from './failure.js';
import { defineLogin } from './login-program.js';
import { defineMesh } from './mesh-program.js';
import type { Session, TargetOptions } from './session.js';

/** What a value on the command line is, for completion. */
export type ValueKind =
  | 'kind'
  | 'object'
  | 'operator-prefix'
  | 'member'
  | 'join-token'
  | 'mesh-node'
  | 'cluster'
  | 'user'
  | 'api-key'
  | 'client-certificate'
  | 'certificate'
  | 'root'
  | 'service'
  | 'backend'
  | 'version'
  | 'file'
  | 'shell'
  | 'target'
  | 'target-name';

/** Live values that arguments and options take; where absent, choices or nothing. */
export const valueKinds = new WeakMap<Command, readonly ValueKind[]>();
export const optionKinds: Readonly<Record<string, ValueKind>> = {
  '--file': 'file',
  '--password-file': 'file',
  '--bpf-dir': 'file',
  '--library': 'file',
  '--target': 'target',
  '--ca-file': 'file',
  '--cert-file': 'file',
  '--key-file': 'file',
  '--certificate': 'file',
  '--private-key': 'file',
  '--chain': 'file',
  '--passphrase-file': 'file',
  '--token-file': 'file',
  '--out': 'file',
  '--cluster': 'cluster',
  '--node': 'member',
  '--record': 'file',
  '--replay': 'file',
};

export const kinds = ['services', 'backends', 'listeners', 'guards', 'policies', 'nodes'] as const;
export type Kind = (typeof kinds)[number];

export interface Outcome {
  code: ExitCode;
}

// biome-ignore lint/suspicious/noExplicitAny: commander hands options over untyped; each command types its own
type Action = (session: Session, options: any, ...args: any[]) => Promise<ExitCode | undefined>;

/** What the commands of a part are made with. */
export interface ProgramParts {
  add(
    parent: Command,
    usage: string,
    description: string,
    examples: readonly string[],
    takes: readonly ValueKind[],
    define: (command: Command) => Command,
    load: () => Promise<Action>,
    /** isDefault: what the parent does when it is given no subcommand. */
    settings?: { readonly isDefault: boolean },
  ): Command;
  /** --target, --timeout and credentials. */
  onAgent(command: Command): Command;
  /** And --node: another member may be asked through the agent. */
  onMember(command: Command): Command;
  /** --output; the first choice is the default. */
  output(...choices: string[]): Option;
}

export function createProgram(session: Session, outcome: Outcome): Command {
  const program = new Command('marcher')
    .description('Operates a Marcher node: configuration, status, traffic and tests.')
    .showHelpAfterError('(--help shows what is expected)')
    .showSuggestionAfterError()
    .helpCommand('help [COMMAND]', 'help on a command')
    .option(
      '-t, --target <TARGET>',
      'the agent: a name (marcher target), unix:PATH, HOST:PORT or https://HOST:PORT (for the commands that ask one)',
    )
    .option('--record <FILE>', 'without a command: the console, and what it shows into a file')
    .option('--replay <FILE>', 'without a command: the console, on what was recorded')
    .hook('preAction', (whole) => {
      const { record, replay } = whole.opts();
      if (record === undefined && replay === undefined) return;
      throw misuse(
        `${record === undefined ? '--replay' : '--record'} is for the console: it stands where no command does`,
      );
    })
    .addHelpText(
      'after',
      `\n${exitCodeText}\n\nEnvironment: MARCHER_TARGET (default for --target), MARCHER_CA_FILE, MARCHER_CERT_FILE, MARCHER_KEY_FILE, MARCHER_TOKEN_FILE, XDG_CONFIG_HOME, NO_COLOR, FORCE_COLOR.`,
    );

  const action =
    (load: () => Promise<Action>) =>
    async (...parameters: unknown[]): Promise<void> => {
      // commander: (argument..., options, command)
      // -t may stand before the subcommand, too.
      const options: TargetOptions = { ...program.opts(), ...(parameters.at(-2) as TargetOptions) };
      const code = await (await load())(session, options, ...parameters.slice(0, -2));
      if (code !== undefined) outcome.code = code;
    };
  const add: ProgramParts['add'] = (parent, usage, description, examples, takes, define, load, settings) => {
    const command = define(parent.command(usage, settings).description(description));
    command.addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`);
    command.action(action(load));
    valueKinds.set(command, takes);
    return command;
  };
  const elsewhere = (flags: string, text: string): Option => new Option(flags, text).helpGroup('Of https://HOST:PORT:');
  const onAgent: ProgramParts['onAgent'] = (command) =>
    command
      .option(
        '-t, --target <TARGET>',
        'a name (marcher target), unix:PATH, HOST:PORT, https://HOST:PORT or ssh://[USER@]HOST (default: $MARCHER_TARGET, else that of marcher target use, else unix:/run/marcher/marcher.sock)',
      )
      .option('--timeout <TIME>', 'give up a call after this time', '60s')
      .addOption(elsewhere('--ca-file <FILE>', "who signed the agent's certificate: the root of its mesh"))
      .addOption(elsewhere('--cert-file <FILE>', 'your certificate'))
      .addOption(elsewhere('--key-file <FILE>', 'its private key'))
      .addOption(elsewhere('--token-file <FILE>', "has a session's or an API key's token, instead of a certificate"))
      .addOption(elsewhere('--node-id <ID>', 'the node that must answer (default: any of the mesh)'));
  const onMember: ProgramParts['onMember'] = (command) =>
    onAgent(command).option('--node <NODE>', 'ask this member of the mesh (name or id) through the target');
  const output: ProgramParts['output'] = (...choices) =>
    new Option('-o, --output <FORMAT>', 'form of the output').choices(choices).default(choices[0]);
  const file = new Option(
    '-f, --file <FILE...>',
    'YAML or JSON configuration; - reads standard input',
  ).makeOptionMandatory();
  const changing = (command: Command): Command =>
    withAcks(onAgent(command))
      .option('-m, --message <TEXT>', 'why; kept in the history', '')
      .option('--expected-version <VERSION>', 'fail with a conflict when the configuration has moved from this version')
      .option('--dry-run', 'only show what would change')
      .addOption(output('text', 'json'));
  const watching = new Option('-w, --watch [INTERVAL]', 'again every interval (default 1s), as rates');

  program.commandsGroup('Configuration:');
  add(
    program,
    'apply',
    'make what a file declares part of the configuration',
    [
      'marcher apply -f web.yaml',
      'marcher apply -f all.yaml --prune -m "nightly sync"    # what is not in the file is removed',
      'marcher apply -f web.yaml --expected-version 41        # only if nobody changed anything since',
      'marcher apply -f web.yaml --min-acks 2                 # in a mesh: once two other nodes have it',
      'generate | marcher apply -f - --dry-run',
    ],
    [],
    (command) =>
      withAcks(onAgent(command))
        .addOption(file)
        .option('--prune', 'remove what the files do not name')
        .option('-m, --message <TEXT>', 'why; kept in the history', '')
        .option(
          '--expected-version <VERSION>',
          'fail with a conflict when the configuration has moved from this version',
        )
        .option('--dry-run', 'only show what would change')
        .addOption(output('text', 'json')),
    async () => (await import('./commands/apply.js')).apply,
  );
  add(
    program,
    'plan',
    'show what apply would change',
    ['marcher plan -f web.yaml', 'marcher plan -f all.yaml --prune --detailed-exitcode || echo "differs"'],
    [],
    (command) =>
      onAgent(command)
        .addOption(file)
        .option('--prune', 'remove what the files do not name')
        .option('--detailed-exitcode', 'exit with 0: no changes, 1: error (any), 2: there are changes')
        .addOption(output('text', 'json')),
    async () => (await import('./commands/apply.js')).plan,
  );
  add(
    program,
    'get <KIND> [NAME]',
    'list services, backends, listeners, guards, policies or nodes, or show one',
    [
      'marcher get services',
      'marcher get policies -o wide                           # traffic policies',
      'marcher get guard edge -o yaml',
      'marcher get service web -o yaml                        # as a file that apply takes',
      'marcher get backends web -o wide',
      'marcher get services -l team=edge -o json',
    ],
    ['kind', 'object'],
    (command) =>
      onMember(command)
        .addOption(output('table', 'wide', 'json', 'yaml'))
        .option('-l, --label <KEY=VALUE...>', 'only services with these labels'),
    async () => (await import('./commands/get.js')).get,
  );
  add(
    program,
    'delete <KIND> <NAME...>',
    'remove services, guards or policies',
    [
      'marcher delete service web',
      'marcher delete guard edge --dry-run',
      'marcher delete policies gold silver -m "nobody names them"',
    ],
    ['kind', 'object'],
    changing,
    async () => (await import('./commands/delete.js')).remove,
  );
  add(
    program,
    'export',
    'print all that is configured, as a file that apply takes',
    [
      'marcher export > all.yaml',
      'marcher export -o json',
      'marcher export -t A:7000 | marcher apply -t B:7000 -f - --prune',
    ],
    [],
    (command) => onAgent(command).addOption(output('yaml', 'json')),
    async () => (await import('./commands/export.js')).exportConfiguration,
  );
  add(
    program,
    'watch <KIND>',
    'follow changes of services, guards, policies, backends or connections',
    ['marcher watch services', 'marcher watch guards', 'marcher watch connections -o json', 'marcher watch backends'],
    ['kind'],
    (command) => onMember(command).addOption(output('table', 'json')),
    async () => (await import('./commands/watch.js')).watch,
  );
  add(
    program,
    'history',
    'list the versions of the configuration',
    ['marcher history', 'marcher history --limit 5 --diff', 'marcher history --before 40 -o json'],
    [],
    (command) =>
      onMember(command)
        .option('-n, --limit <COUNT>', 'how many, at most 1000', '20')
        .option('--before <VERSION>', 'only versions below this one')
        .option('--diff', 'with what each changed')
        .addOption(output('table', 'json')),
    async () => (await import('./commands/history.js')).history,
  );
  add(
    program,
    'revert <VERSION>',
    'make an earlier version the current one, as a new version',
    ['marcher revert 41', 'marcher revert 41 -m "rollout went wrong"'],
    ['version'],
    (command) =>
      withAcks(onAgent(command))
        .option('-m, --message <TEXT>', 'why; kept in the history', '')
        .option(
          '--expected-version <VERSION>',
          'fail with a conflict when the configuration has moved from this version',
        )
        .addOption(output('text', 'json')),
    async () => (await import('./commands/history.js')).revert,
  );
  add(
    program,
    'import <FILE>',
    "convert fproxy's JSON (Apps, Ports, Targets); print YAML or apply it",
    ['marcher import fproxy.json > services.yaml', 'marcher import fproxy.json --apply'],
    ['file'],
    (command) =>
      onAgent(command)
        .option('--apply', 'apply it instead of printing it')
        .option('-m, --message <TEXT>', 'why; kept in the history', ''),
    async () => (await import('./commands/import.js')).importFile,
  );

  program.commandsGroup('Guard:');
  const guard = program
    .command('guard')
    .description('deny or allow sources of packets at once, in the guard "operator"');
  guard.addHelpText(
    'after',
    '\nExamples:\n  marcher guard deny 203.0.113.0/24\n  marcher guard remove 203.0.113.0/24\n  marcher guard list',
  );
  const ofPorts = (command: Command): Command =>
    changing(
      command
        .addOption(new Option('--protocol <PROTOCOL>', 'only of this transport').choices(['tcp', 'udp']))
        .option('--ports <LIST>', 'only to these destination ports, such as 22,8000-8100; with --protocol'),
    );
  add(
    guard,
    'deny <PREFIX...>',
    'drop what comes from these sources; what the guard "operator" allowed of the same is denied',
    [
      'marcher guard deny 203.0.113.0/24 2001:db8:bad::/48',
      'marcher guard deny 198.51.100.7 --protocol udp --ports 53 -m "ticket 4711"',
      'xargs marcher guard deny < addresses.txt',
    ],
    [],
    ofPorts,
    async () => (await import('./commands/guard.js')).deny,
  );
  add(
    guard,
    'allow <PREFIX...>',
    'let pass what comes from these sources',
    [
      'marcher guard allow 192.0.2.0/24',
      'marcher guard allow 192.0.2.7 --unlimited              # source limits do not count it',
    ],
    [],
    (command) => ofPorts(command).option('--unlimited', 'source limits do not count these packets'),
    async () => (await import('./commands/guard.js')).allow,
  );
  add(
    guard,
    'remove <PREFIX...>',
    'say nothing of these sources any more in the guard "operator"',
    ['marcher guard remove 203.0.113.0/24', 'marcher guard remove 198.51.100.7 --protocol udp --ports 53'],
    ['operator-prefix'],
    ofPorts,
    async () => (await import('./commands/guard.js')).remove,
  );
  add(
    guard,
    'list',
    'what all guards say of sources, a line for each',
    ['marcher guard list', 'marcher guard list | grep ^203.0.113.', 'marcher guard list -o json'],
    [],
    (command) => onAgent(command).addOption(output('table', 'json')),
    async () => (await import('./commands/guard.js')).list,
  );

  program.commandsGroup('Node:');
  add(
    program,
    'status',
    'how the node is',
    [
      'marcher status',
      'marcher status -o json --target 127.0.0.1:7000',
      'marcher status --node node-b        # through this one',
    ],
    [],
    (command) => onMember(command).addOption(output('text', 'json')),
    async () => (await import('./commands/status.js')).status,
  );
  add(
    program,
    'explain <KIND> <NAME>',
    'say which tier carries a service and why, and how the service is',
    ['marcher explain service web', 'marcher explain service web -o json'],
    ['kind', 'service'],
    (command) => onMember(command).addOption(output('text', 'json')),
    async () => (await import('./commands/explain.js')).explain,
  );
  add(
    program,
    'drain [SERVICE] [BACKEND]',
    'take a backend, or the node when none is named, out of service; connections finish',
    [
      'marcher drain web app-1',
      'marcher drain                # the node',
      'marcher drain --node node-b  # another one',
    ],
    ['service', 'backend'],
    onMember,
    async () => (await import('./commands/drain.js')).drain,
  );
  add(
    program,
    'undrain [SERVICE] [BACKEND]',
    'put a drained backend, or the node, back into service',
    ['marcher undrain web app-1', 'marcher undrain              # the node'],
    ['service', 'backend'],
    onMember,
    async () => (await import('./commands/drain.js')).undrain,
  );

  add(
    program,
    'uninstall-dataplane',
    'take all that Marcher has in the kernel of this machine away; as root, with no agent running',
    [
      'marcher uninstall-dataplane --dry-run                  # only say what',
      'systemctl stop marcherd && marcher uninstall-dataplane',
      'marcher uninstall-dataplane --bpf-dir /run/marcher/bpf/node',
    ],
    [],
    (command) =>
      command
        .option('--bpf-dir <DIR>', "the agent's --bpf-dir (default: /sys/fs/bpf/marcher)")
        .option('--library <PATH>', 'libmarcher.so (default: the one that came with the agent)')
        .option('--dry-run', 'only say what would be taken away'),
    async () => (await import('./commands/uninstall-dataplane.js')).uninstallDataplane,
  );

  program.commandsGroup('Mesh:');
  defineMesh(program, { add, onAgent, onMember, output });
  defineCertificates(program, { add, onAgent, onMember, output });
  defineClusters(program, { add, onAgent, onMember, output });

  program.commandsGroup('Other machines:');
  defineLogin(program, { add, onAgent, onMember, output });

  program.commandsGroup('Audit:');
  defineAudit(program, { add, onAgent, onMember, output });

  program.commandsGroup('Access:');
  defineAccess(program, { add, onAgent, onMember, output });

  program.commandsGroup('Traffic:');
  add(
    program,
    'stats [SERVICE]',
    'counters of the services',
    ['marcher stats', 'marcher stats web --backends --watch 2s', 'marcher stats --watch -o json | jq .'],
    ['service'],
    (command) =>
      onMember(command)
        .addOption(watching)
        .option('-b, --backends', 'one line per backend')
        .addOption(output('table', 'json')),
    async () => (await import('./commands/stats.js')).stats,
  );
  add(
    program,
    'connections [SERVICE]',
    'open connections and UDP sessions',
    ['marcher connections', 'marcher connections web --limit 50', 'marcher connections -o json'],
    ['service'],
    (command) =>
      onMember(command)
        .option('-n, --limit <COUNT>', 'how many, at most 10000', '1000')
        .addOption(output('table', 'wide', 'json')),
    async () => (await import('./commands/connections.js')).connections,
  );
  add(
    program,
    'logs [SERVICE]',
    'connection log, health transitions and engine events',
    ['marcher logs web --follow', 'marcher logs --tail 1000 -o json', 'marcher logs -f | grep backend-reset'],
    ['service'],
    (command) =>
      onMember(command)
        .option('-f, --follow', 'go on with new entries')
        .option('-n, --tail <COUNT>', 'how many past entries, 1 to 10000', '100')
        .addOption(output('text', 'json')),
    async () => (await import('./commands/logs.js')).logs,
  );

  program.commandsGroup('Tests (send traffic to a port):');
  const test = program.command('test').description('ping a port, judge the balance over backends, or put load on it');
  test.addHelpText(
    'after',
    '\nExamples:\n  marcher test ping 127.0.0.1:5001\n  marcher test balance 127.0.0.1:5001 --weights a=2,b=1\n  marcher test simulate 127.0.0.1:5001 -c 100 -d 10s',
  );
  const protocol = (command: Command): Command =>
    command
      .option('-u, --udp', 'datagrams instead of TCP connections')
      .option('-4, --ipv4', 'only IPv4')
      .option('-6, --ipv6', 'only IPv6');
  add(
    test,
    'ping <HOST:PORT>',
    'connect (TCP) or exchange datagrams (UDP), and show the times',
    [
      'marcher test ping 127.0.0.1:5001',
      'marcher test ping [::1]:5001 -n 10 -i 200ms',
      'marcher test ping 127.0.0.1:5353 --udp --payload hello',
      'marcher test ping 127.0.0.1:5001 --payload "PING\\r\\n"     # wait for the first bytes of the answer, too',
    ],
    [],
    (command) =>
      protocol(command)
        .option('-n, --count <COUNT>', 'how many', '4')
        .option('-i, --interval <TIME>', 'from one to the next', '1s')
        .option('--wait <TIME>', 'for an answer', '2s')
        .option('-p, --payload <TEXT>', 'to send (\\n, \\r, \\t, \\0, \\xHH are understood); UDP default: ping')
        .addOption(output('text', 'json')),
    async () => (await import('./probe/ping.js')).ping,
  );
  add(
    test,
    'balance <HOST:PORT>',
    'ask who answers, many times, and judge the shares against the weights',
    [
      'marcher test balance 127.0.0.1:5001 -n 1000',
      'marcher test balance 127.0.0.1:5001 --weights a=3,b=1 --payload "whoami\\n"',
      'marcher test balance 127.0.0.1:5001 --match "server: (\\\\S+)" --payload "GET / HTTP/1.0\\r\\n\\r\\n"',
    ],
    [],
    (command) =>
      protocol(command)
        .option('-n, --count <COUNT>', 'connections, or datagrams from as many sockets', '300')
        .option('-c, --concurrency <COUNT>', 'at a time', '16')
        .option('-p, --payload <TEXT>', 'to send first; a backend identifies itself by the first line that it answers')
        .option('--match <REGEX>', 'what identifies the backend in its answer: the first group, or the match')
        .option(
          '--weights <LIST>',
          'expected, such as a=2,b=1; without it all that answered are expected equally often',
        )
        .option(
          '--significance <P>',
          'verdict fails when chance alone would be so far off with less than this probability',
          '0.001',
        )
        .option('--wait <TIME>', 'for an answer', '5s')
        .addOption(output('text', 'json')),
    async () => (await import('./probe/balance.js')).balance,
  );
  add(
    test,
    'simulate <HOST:PORT>',
    'put load on a port: rates, errors, latency percentiles',
    [
      'marcher test simulate 127.0.0.1:5001 -c 100 -d 30s',
      'marcher test simulate 127.0.0.1:5001 --rate 2000 --size 1024     # requests per second, echoed',
      'marcher test simulate 127.0.0.1:5001 --mode connect -c 50        # connect, close, again',
      'marcher test simulate 127.0.0.1:5353 --udp --rate 5000 -o json',
    ],
    [],
    (command) =>
      protocol(command)
        .option('-c, --connections <COUNT>', 'at a time', '10')
        .option('-d, --duration <TIME>', 'how long', '10s')
        .option('-r, --rate <COUNT>', 'requests per second over all connections (default: as fast as answers come)')
        .option('-s, --size <BYTES>', 'of a request; the answer is expected to have as many', '64')
        .addOption(
          new Option('--mode <MODE>', 'request: many per connection; connect: one request per connection')
            .choices(['request', 'connect'])
            .default('request'),
        )
        .option('--wait <TIME>', 'for an answer, then it counts as an error', '5s')
        .option('--max-errors <PERCENT>', 'exit with 9 when more than this share failed', '0')
        .addOption(output('text', 'json')),
    async () => (await import('./probe/simulate.js')).simulate,
  );

  program.commandsGroup('Other:');
  add(
    program,
    'completion <SHELL>',
    'print a completion script for bash, zsh or fish',
    [
      'source <(marcher completion bash)',
      'marcher completion zsh > ~/.zfunc/_marcher         # a directory of $fpath',
      'marcher completion fish > ~/.config/fish/completions/marcher.fish',
    ],
    ['shell'],
    (command) => command,
    async () => (await import('./completion/scripts.js')).completion,
  );
  add(
    program,
    'version',
    'print the version of this program (and of the agent, with --agent)',
    ['marcher version', 'marcher version --agent -o json'],
    [],
    (command) =>
      onAgent(command).option('--agent', 'ask the agent for its version, too').addOption(output('text', 'json')),
    async () => (await import('./commands/version.js')).version,
  );
  const complete = program
    .command('__complete [WORDS...]', { hidden: true })
    .allowUnknownOption()
    .helpOption(false)
    .passThroughOptions(false);
  complete.action(
    action(async () => async (current: Session, _options: unknown, words: string[]) => {
      const { complete: answer } = await import('./completion/complete.js');
      await answer(current, program, words);
      return undefined;
    }),
  );
  return program;
}
