// SPDX-License-Identifier: Apache-2.0
/** Flags and environment, read once. Every mistake is reported at once, with what to write instead. */
import { existsSync } from 'node:fs';
import { BlockList, isIP } from 'node:net';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { nearest } from '@marcher/model';
import { isCountry } from './domain/country.js';
import { DEFAULTS } from './domain/defaults.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface MeshSettings {
  /** Where other agents reach this one; gossip is on the next port. */
  readonly address: Address;
  /** The node that lets this one in. */
  readonly join: (Address & { readonly tokenFile: string }) | undefined;
  /** Need not be there yet. */
  readonly caKeyFile: string;
  /** Where programs on this machine find certificates of services and their keys; undefined: nowhere. */
  readonly certificatesDir?: string | undefined;
}

export interface RemoteApiSettings {
  readonly address: Address;
  /** Of the operator's own; undefined: the node's certificate of its mesh. */
  readonly certificate: { readonly certificate: string; readonly key: string } | undefined;
}

export interface AgentConfig {
  readonly stateDir: string;
  /** Of the audit log, after which its oldest records go. */
  readonly auditBytes: number;
  readonly runDir: string;
  readonly source: string | undefined;
  /** undefined: this node is in no mesh, and can be in none. */
  readonly mesh: MeshSettings | undefined;
  /** Loopback, for every local user. */
  readonly api: Address | undefined;
  /** For operators elsewhere. */
  readonly remoteApi: RemoteApiSettings | undefined;
  readonly socketPath: string | undefined;
  readonly socketGroup: string;
  readonly metrics: Address | undefined;
  /** 0: one per allowed core. */
  readonly workers: number;
  readonly cpus: string | undefined;
  readonly enginePath: string | undefined;
  readonly libraryPath: string | undefined;
  readonly nodeName: string;
  readonly region: string;
  readonly country: string;
  readonly logLevel: LogLevel;
  /** undefined: the embedded database; '' : none. */
  readonly geoipPath: string | undefined;
  readonly stopEngineOnExit: boolean;
  /** Of the packet tiers; none: they are off. */
  readonly interfaces: readonly string[];
  readonly bpfDir: string;
  readonly xdpMode: XdpMode;
  /** Prefixes and ranges of ports of relayed services are steered. */
  readonly skLookup: boolean;
  /** By which queueing disciplines packets over a rate may wait. */
  readonly egressShaping: EgressShaping;
  /** Flows that NAT has room for; 0: by the memory. */
  readonly natFlows: number;
  /** Whether XDP may carry open flows of services that tc carries. */
  readonly natFastPath: NatFastPath;
  /** Addresses of this node under which encapsulated packets are unpacked. */
  readonly decapsulated: readonly string[];
  /** 0: that of the interface. */
  readonly decapsulateMtu: number;
  /** UDP port at which GUE comes to them. */
  readonly guePort: number;
}

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const XDP_MODES = ['auto', 'native', 'generic', 'off'] as const;
export type XdpMode = (typeof XDP_MODES)[number];

export const NAT_FAST_PATHS = ['auto', 'off'] as const;
export type NatFastPath = (typeof NAT_FAST_PATHS)[number];

export const EGRESS_SHAPINGS = ['auto', 'fq', 'htb', 'off'] as const;
export type EgressShaping = (typeof EGRESS_SHAPINGS)[number];

interface Flag {
  readonly name: string;
  /** What stands for the value in the help; absent: a switch. */
  readonly value?: string;
  readonly help: string;
}

const FLAGS: readonly Flag[] = [
  { name: 'state', value: 'DIR', help: 'database and last good configuration (default /var/lib/marcher)' },
  { name: 'run', value: 'DIR', help: "the engine's socket, lock and snapshot (default STATE/run)" },
  { name: 'audit-size', value: 'MIB', help: 'of the audit log, after which its oldest records go (default 256)' },
  {
    name: 'config',
    value: 'FILE|DIR',
    help: 'configuration file or directory that is watched and owns the configuration',
  },
  {
    name: 'api',
    value: 'HOST:PORT',
    help: 'also serve the API by TCP: on loopback plainly, where every local user may change the node; elsewhere by TLS, to operators with a client certificate or a token (default: off)',
  },
  {
    name: 'api-certificate',
    value: 'FILE',
    help: "PEM chain that --api shows, read again when it changes; also on loopback it is TLS then (default: the node's certificate of its mesh)",
  },
  { name: 'api-key-file', value: 'FILE', help: 'its private key, PEM' },
  { name: 'socket', value: 'PATH', help: 'Unix socket of the API, or "none" (default /run/marcher/marcher.sock)' },
  { name: 'socket-group', value: 'GROUP', help: 'group that may use the socket beside root (default marcher)' },
  {
    name: 'mesh',
    value: 'ADDRESS:PORT',
    help: 'where agents of a mesh reach this one: TLS on this port, gossip on the next one, UDP and TCP (default: no mesh)',
  },
  {
    name: 'join',
    value: 'ADDRESS:PORT',
    help: 'join the mesh of the node that listens there (its --mesh), unless this one is in it already',
  },
  { name: 'join-token-file', value: 'FILE', help: 'has the token that marcher mesh token has printed there' },
  {
    name: 'ca-key-file',
    value: 'FILE',
    help: "what seals the mesh CA's key on the node that made the mesh (default STATE/ca.key, made with it)",
  },
  {
    name: 'certificates-dir',
    value: 'DIR',
    help: 'keep certificates of services and their keys there, for programs of this machine (default: nowhere)',
  },
  { name: 'metrics', value: 'HOST:PORT', help: 'serve /healthz, /readyz and /metrics by HTTP (default: off)' },
  { name: 'workers', value: 'N', help: 'threads of the engine (default: one per allowed core)' },
  { name: 'cpus', value: 'LIST', help: 'cores for the threads, such as 0-3,8 (default: all allowed)' },
  { name: 'engine', value: 'PATH', help: 'the marcher-engine executable (default: the one that came with the agent)' },
  { name: 'library', value: 'PATH', help: 'libmarcher.so (default: the one that came with the agent)' },
  { name: 'node-name', value: 'NAME', help: 'name of this node (default: the host name)' },
  { name: 'region', value: 'REGION', help: 'region of this node, such as eu, for the geo algorithm' },
  { name: 'country', value: 'CC', help: 'country of this node, ISO 3166-1 alpha-2, for the geo algorithm' },
  { name: 'geoip', value: 'PATH', help: 'country database in MaxMind format, or "none" (default: the embedded one)' },
  { name: 'log-level', value: 'LEVEL', help: `${LOG_LEVELS.join(', ')} (default info)` },
  {
    name: 'interfaces',
    value: 'LIST',
    help: 'network interfaces for XDP and tc, such as eth0,eth1, which all values of forwarding.mode but relay need (default: none)',
  },
  {
    name: 'sk-lookup',
    help: 'have the kernel lead the connections of prefixes and of ranges of ports to the relay by a BPF program',
  },
  { name: 'bpf-dir', value: 'DIR', help: 'where BPF programs are pinned, in a bpffs (default /sys/fs/bpf/marcher)' },
  {
    name: 'xdp',
    value: 'MODE',
    help: `${XDP_MODES.join(', ')} (default auto: native where the driver can; off: tc alone)`,
  },
  {
    name: 'egress-shaping',
    value: 'MODE',
    help: `${EGRESS_SHAPINGS.join(', ')}: how packets over a rate wait where tc carries a service (default auto: by fq, else by HTB)`,
  },
  {
    name: 'nat-flows',
    value: 'COUNT',
    help: 'flows that NAT has room for, 370 bytes each, when it makes its tables (default: by the memory, 65536 to 1048576)',
  },
  {
    name: 'nat-fast-path',
    value: 'MODE',
    help: `${NAT_FAST_PATHS.join(', ')}: whether XDP carries open flows of NAT where it runs natively (default auto: it does; off: tc does)`,
  },
  {
    name: 'decapsulate',
    value: 'LIST',
    help: 'addresses of this node under which IPIP and GUE are unpacked, by XDP or else by tc: for backends (default: none)',
  },
  {
    name: 'decapsulate-mtu',
    value: 'BYTES',
    help: 'largest packet that comes to those addresses, which clients are advised by (default: the MTU of the interface)',
  },
  { name: 'gue-port', value: 'PORT', help: `UDP port of GUE under those addresses (default ${DEFAULTS.guePort})` },
  { name: 'stop-engine-on-exit', help: 'stop the engine, and so all traffic, when the agent is told to stop' },
];

/** A command of its own, which needs no agent: what it takes besides its name. */
export const UNINSTALL = 'uninstall-dataplane';
const DRY_RUN: Flag = { name: 'dry-run', help: 'only say what would be taken away' };
const UNINSTALL_FLAGS: readonly Flag[] = [
  ...FLAGS.filter(({ name }) => name === 'bpf-dir' || name === 'library'),
  DRY_RUN,
];

export interface Uninstall {
  readonly bpfDir: string;
  readonly libraryPath: string | undefined;
  readonly dryRun: boolean;
}

export type Command =
  | { readonly kind: 'run'; readonly config: AgentConfig }
  | { readonly kind: 'uninstall'; readonly uninstall: Uninstall }
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'version' }
  | { readonly kind: 'mistakes'; readonly mistakes: readonly string[] };

export function environmentName(flag: string): string {
  return `MARCHER_${flag.toUpperCase().replaceAll('-', '_')}`;
}

function rowsOf(flags: readonly Flag[]): string[] {
  const rows = flags.map(
    ({ name, value, help }) => [`--${name}${value === undefined ? '' : ` ${value}`}`, help] as const,
  );
  const width = Math.max(...rows.map(([left]) => left.length));
  return [...rows, ['--help', 'this text'], ['--version', 'the version']].map(
    ([left = '', right = '']) => `  ${left.padEnd(width)}  ${right}`,
  );
}

export function uninstallHelpText(): string {
  return [
    `usage: marcherd ${UNINSTALL} [--bpf-dir DIR] [--dry-run]`,
    '',
    'Takes all that Marcher has in the kernel away: programs off the interfaces, and every pin below the directory. Packets',
    'that they forwarded then go to this host itself. Works without an agent, and not beside one. Needs root.',
    '',
    ...rowsOf(UNINSTALL_FLAGS),
    '',
    'Ends with 0: done, or nothing was there; 1: not everything could be taken away; 64: an option is wrong;',
    '69: libmarcher can not be loaded; 75: an agent runs.',
    '',
  ].join('\n');
}

export function helpText(): string {
  const lines = rowsOf(FLAGS);
  return [
    'usage: marcherd [--state DIR] [options]',
    `       marcherd ${UNINSTALL} [--bpf-dir DIR] [--dry-run]`,
    '',
    'The Marcher agent. Each option may also be set in the environment: --node-name is MARCHER_NODE_NAME; the option wins.',
    'On SIGTERM and SIGINT the agent ends and the engine carries on serving, unless --stop-engine-on-exit is given.',
    '',
    ...lines,
    '',
  ].join('\n');
}

/** 107 bytes of a Unix socket's path, less "/engine.4194304.sock" and some room. */
const RUN_DIR_BYTES_MAX = 80;
const AUDIT_MIB_MAX = 65_536;
/** 107 bytes that the kernel takes, less a suffix while the socket is being put in place (adapters/inbound/grpc/unix-socket.ts). */
const SOCKET_PATH_BYTES_MAX = 103;

/** Each is attached to and looked at; nobody has more. */
/** PACKET_NAT_FLOWS_MAX of dataplane-c/src/control/packet.h. */
const NAT_FLOWS_MAX = 8_388_608;
const NAT_FLOWS_MIN = 1_024;
const INTERFACES_MAX = 64;
const DECAPSULATED_MAX = 256;
/** Every IPv6 link carries it; below, what is left beside an outer header would be too small to be of use. */
const MTU_MIN = 1_280;

interface Given {
  readonly value: string;
  /** "--workers" or "MARCHER_WORKERS", for messages. */
  readonly from: string;
}

export function readCommand(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Command {
  const mistakes: string[] = [];
  const given = new Map<string, Given>();
  const uninstall = args[0] === UNINSTALL;
  const flags = uninstall ? UNINSTALL_FLAGS : FLAGS;
  const names = flags.map(({ name }) => name);
  for (const { name } of flags) {
    if (name === DRY_RUN.name) continue;
    const variable = environmentName(name);
    const value = environment[variable];
    if (value !== undefined && value !== '') given.set(name, { value, from: variable });
  }
  for (const variable of Object.keys(environment)) {
    // A mistyped variable would otherwise be ignored in silence. Others' MARCHER_* (the command line's) are let be.
    if (!variable.startsWith('MARCHER_') || FOREIGN_VARIABLES.has(variable)) continue;
    const known = FLAGS.map(({ name }) => environmentName(name));
    if (!known.includes(variable)) mistakes.push(unknown(variable, nearest(variable, known), 'variable'));
  }
  const seen = new Set<string>();
  for (let i = uninstall ? 1 : 0; i < args.length; i++) {
    const argument = args[i] as string;
    if (argument === '--help' || argument === '-h') {
      return { kind: 'help', text: uninstall ? uninstallHelpText() : helpText() };
    }
    if (argument === '--version' || argument === '-V') return { kind: 'version' };
    if (!argument.startsWith('--')) {
      const command = i === 0 ? nearest(argument, [UNINSTALL]) : undefined;
      const advice = command === undefined ? 'marcherd takes options only, see --help' : `did you mean ${command}?`;
      mistakes.push(`${JSON.stringify(argument)} is not an option: ${advice}`);
      continue;
    }
    const equals = argument.indexOf('=');
    const name = argument.slice(2, equals === -1 ? undefined : equals);
    const flag = flags.find((candidate) => candidate.name === name);
    if (flag === undefined) {
      mistakes.push(unknown(`--${name}`, nearest(name, names), 'option'));
      if (equals === -1 && args[i + 1]?.startsWith('-') === false) i++;
      continue;
    }
    if (seen.has(name)) mistakes.push(`--${name} is given twice: keep one`);
    seen.add(name);
    let value = equals === -1 ? undefined : argument.slice(equals + 1);
    if (flag.value === undefined) value ??= 'true';
    else if (value === undefined) {
      value = args[i + 1];
      if (value === undefined || value.startsWith('--')) {
        mistakes.push(`--${name} has no value: write --${name} ${flag.value}`);
        continue;
      }
      i++;
    }
    if (value === '') mistakes.push(`--${name} is empty: write --${name} ${flag.value ?? 'true'}, or leave it out`);
    else given.set(name, { value, from: `--${name}` });
  }
  if (uninstall) {
    const read = interpretUninstall(given, mistakes);
    return mistakes.length > 0 ? { kind: 'mistakes', mistakes } : { kind: 'uninstall', uninstall: read };
  }
  const config = interpret(given, mistakes);
  return mistakes.length > 0 ? { kind: 'mistakes', mistakes } : { kind: 'run', config };
}

/** Variables that belong to the command line, to systemd units and to tests. */
const FOREIGN_VARIABLES = new Set([
  'MARCHER_TARGET',
  'MARCHER_CA_FILE',
  'MARCHER_CERT_FILE',
  'MARCHER_KEY_FILE',
  'MARCHER_TOKEN_FILE',
  'MARCHER_NODE',
  'MARCHER_NODE_OPTIONS',
  'MARCHER_HOME',
  'MARCHER_SKIP_APT',
]);

function unknown(what: string, meant: string | undefined, kind: 'option' | 'variable'): string {
  const prefix = kind === 'option' ? '--' : '';
  const advice = meant === undefined ? 'see --help' : `did you mean ${prefix}${meant}?`;
  return `${what} is not a known ${kind}: ${advice}`;
}

function bpfDirOf(given: ReadonlyMap<string, Given>): string {
  return resolve(given.get('bpf-dir')?.value ?? '/sys/fs/bpf/marcher');
}

function libraryOf(given: ReadonlyMap<string, Given>, mistakes: string[]): string | undefined {
  const library = given.get('library');
  if (library === undefined) return undefined;
  if (!existsSync(library.value)) {
    mistakes.push(`${library.from} ${JSON.stringify(library.value)} does not exist: build it, or correct the path`);
  }
  return resolve(library.value);
}

function interpretUninstall(given: ReadonlyMap<string, Given>, mistakes: string[]): Uninstall {
  const dryRun = given.get(DRY_RUN.name)?.value ?? 'false';
  if (!['true', 'false', '1', '0'].includes(dryRun)) {
    mistakes.push(`--${DRY_RUN.name} ${JSON.stringify(dryRun)} is neither true nor false`);
  }
  return {
    bpfDir: bpfDirOf(given),
    libraryPath: libraryOf(given, mistakes),
    dryRun: dryRun === 'true' || dryRun === '1',
  };
}

function interpret(given: ReadonlyMap<string, Given>, mistakes: string[]): AgentConfig {
  const text = (name: string): string | undefined => given.get(name)?.value;
  const wrong = (name: string, reason: string): void => {
    const { from, value } = given.get(name) as Given;
    mistakes.push(`${from} ${JSON.stringify(value)} ${reason}`);
  };

  const stateDir = resolve(text('state') ?? '/var/lib/marcher');
  const auditMib = Number(text('audit-size') ?? '256');
  if (!(Number.isInteger(auditMib) && auditMib >= 1 && auditMib <= AUDIT_MIB_MAX)) {
    wrong('audit-size', `is not a size in MiB: write 1 to ${AUDIT_MIB_MAX}`);
  }
  const workers = Number(text('workers') ?? '0');
  if (text('workers') !== undefined && !(Number.isInteger(workers) && workers >= 1 && workers <= 254)) {
    wrong('workers', 'is not a number of threads: write 1 to 254');
  }
  const cpus = text('cpus');
  if (cpus !== undefined && !isCpuList(cpus)) wrong('cpus', 'is not a list of cores: write something like 0-3,8');
  const source = text('config');
  const engine = text('engine');
  if (engine !== undefined && !existsSync(engine)) wrong('engine', 'does not exist: build it, or correct the path');
  const libraryPath = libraryOf(given, mistakes);
  const geoip = text('geoip');
  if (geoip !== undefined && geoip !== 'none' && !existsSync(geoip)) {
    wrong('geoip', 'does not exist: correct the path, or write none');
  }
  const country = text('country') ?? '';
  if (country !== '' && !isCountry(country)) {
    const upper = country.toUpperCase();
    wrong('country', `is not a country code: write ${isCountry(upper) ? upper : 'two letters such as DE'}`);
  }
  const region = text('region') ?? '';
  if (region !== '' && !/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,29}[A-Za-z0-9])?$/.test(region)) {
    wrong('region', 'is not a region name: write at most 31 letters, digits, ".", "_" and "-"');
  }
  const nodeName = text('node-name') ?? hostname();
  if (!/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/.test(nodeName)) {
    if (given.has('node-name')) wrong('node-name', 'is not a name: write letters, digits, ".", "_" and "-"');
    else mistakes.push(`the host name ${JSON.stringify(nodeName)} can't be the node's name: set --node-name NAME`);
  }
  const logLevel = text('log-level') ?? 'info';
  if (!(LOG_LEVELS as readonly string[]).includes(logLevel)) {
    const meant = nearest(logLevel, LOG_LEVELS);
    wrong(
      'log-level',
      `is not a level: ${meant === undefined ? `write ${LOG_LEVELS.join(', ')}` : `did you mean ${meant}?`}`,
    );
  }
  const steer = text('sk-lookup') ?? 'false';
  if (!['true', 'false', '1', '0'].includes(steer)) wrong('sk-lookup', 'is neither true nor false');
  const stop = text('stop-engine-on-exit') ?? 'false';
  if (!['true', 'false', '1', '0'].includes(stop)) wrong('stop-engine-on-exit', 'is neither true nor false');
  const socket = text('socket') ?? '/run/marcher/marcher.sock';
  if (socket !== 'none' && Buffer.byteLength(resolve(socket)) > SOCKET_PATH_BYTES_MAX) {
    const reason = `is longer than ${SOCKET_PATH_BYTES_MAX} bytes: choose a shorter path`;
    if (given.has('socket')) wrong('socket', reason);
    else mistakes.push(`the socket's path ${reason}`);
  }

  const interfaces = list(text('interfaces'));
  for (const [i, name] of interfaces.entries()) {
    if (!/^[^\s/:,]{1,15}$/.test(name) || name === '.' || name === '..') {
      wrong('interfaces', `names ${JSON.stringify(name)}, which is no interface: write names such as eth0,eth1`);
    } else if (interfaces.indexOf(name) !== i) wrong('interfaces', `names ${name} twice: keep one`);
  }
  if (interfaces.length > INTERFACES_MAX) wrong('interfaces', `names more than ${INTERFACES_MAX} interfaces`);
  const xdp = text('xdp') ?? 'auto';
  if (!(XDP_MODES as readonly string[]).includes(xdp)) {
    const meant = nearest(xdp, XDP_MODES);
    wrong('xdp', `is not a mode: ${meant === undefined ? `write ${XDP_MODES.join(', ')}` : `did you mean ${meant}?`}`);
  }
  const shaping = text('egress-shaping') ?? 'auto';
  if (!(EGRESS_SHAPINGS as readonly string[]).includes(shaping)) {
    const meant = nearest(shaping, EGRESS_SHAPINGS);
    wrong(
      'egress-shaping',
      `is not a mode: ${meant === undefined ? `write ${EGRESS_SHAPINGS.join(', ')}` : `did you mean ${meant}?`}`,
    );
  }
  const natFlows = Number(text('nat-flows') ?? 0);
  if (text('nat-flows') !== undefined) {
    if (!Number.isInteger(natFlows) || natFlows < NAT_FLOWS_MIN || natFlows > NAT_FLOWS_MAX) {
      wrong('nat-flows', `is no count of flows from ${NAT_FLOWS_MIN} to ${NAT_FLOWS_MAX}`);
    } else if (interfaces.length === 0) wrong('nat-flows', 'has no effect without --interfaces');
  }
  const natFastPath = text('nat-fast-path') ?? 'auto';
  if (!(NAT_FAST_PATHS as readonly string[]).includes(natFastPath)) {
    wrong('nat-fast-path', `is not a mode: write ${NAT_FAST_PATHS.join(', ')}`);
  }
  const bpfDir = bpfDirOf(given);
  const decapsulated = list(text('decapsulate'));
  for (const address of decapsulated) {
    if (isIP(address) === 0 || address.includes('%')) {
      wrong('decapsulate', `names ${JSON.stringify(address)}, which is no IP address: write 192.0.2.1 or 2001:db8::1`);
    }
  }
  if (decapsulated.length > DECAPSULATED_MAX) wrong('decapsulate', `names more than ${DECAPSULATED_MAX} addresses`);
  if (decapsulated.length > 0 && interfaces.length === 0) {
    wrong('decapsulate', 'has no effect without interfaces: name those that the packets come in by with --interfaces');
  }

  const mtu = text('decapsulate-mtu');
  const decapsulateMtu = Number(mtu ?? 0);
  if (mtu !== undefined && (!/^\d{1,5}$/.test(mtu) || decapsulateMtu < MTU_MIN || decapsulateMtu > 65_535)) {
    wrong('decapsulate-mtu', `is not the size of a packet: write ${MTU_MIN} to 65535`);
  } else if (mtu !== undefined && decapsulated.length === 0) {
    wrong('decapsulate-mtu', 'has no effect without --decapsulate: name the addresses, or leave it out');
  }

  const guePort = Number(text('gue-port') ?? DEFAULTS.guePort);
  if (!/^\d{1,5}$/.test(text('gue-port') ?? '1') || guePort < 1 || guePort > 65_535) {
    wrong('gue-port', 'is not a port: write 1 to 65535');
  }

  const runDir = resolve(text('run') ?? join(stateDir, 'run'));
  if (Buffer.byteLength(runDir) > RUN_DIR_BYTES_MAX) {
    const reason = `is longer than ${RUN_DIR_BYTES_MAX} bytes, so that sockets in it get no valid path: choose a shorter one`;
    if (given.has('run')) wrong('run', reason);
    else mistakes.push(`the run directory ${runDir} ${reason} with --run DIR`);
  }

  return {
    stateDir,
    runDir,
    source: source === undefined ? undefined : resolve(source),
    auditBytes: auditMib * 1024 * 1024,
    mesh: meshOf(given, stateDir, mistakes, wrong),
    ...apiOf(given, wrong),
    socketPath: socket === 'none' ? undefined : resolve(socket),
    socketGroup: text('socket-group') ?? 'marcher',
    metrics: endpoint('metrics', text('metrics'), 'any', wrong),
    workers,
    cpus,
    enginePath: engine === undefined ? undefined : resolve(engine),
    libraryPath,
    nodeName,
    region,
    country,
    logLevel: logLevel as LogLevel,
    geoipPath: geoip === 'none' ? '' : geoip === undefined ? undefined : resolve(geoip),
    stopEngineOnExit: stop === 'true' || stop === '1',
    interfaces,
    bpfDir,
    xdpMode: xdp as XdpMode,
    skLookup: steer === 'true' || steer === '1',
    egressShaping: shaping as EgressShaping,
    natFlows,
    natFastPath: natFastPath as NatFastPath,
    decapsulated,
    decapsulateMtu,
    guePort,
  };
}

function list(text: string | undefined): string[] {
  if (text === undefined || text === 'none') return [];
  return text.split(',').map((part) => part.trim());
}

function isCpuList(text: string): boolean {
  if (!/^\d{1,4}(?:-\d{1,4})?(?:,\d{1,4}(?:-\d{1,4})?)*$/.test(text)) return false;
  return text.split(',').every((part) => {
    const [first = 0, last = first] = part.split('-').map(Number);
    return first <= last;
  });
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

const unspecified = new BlockList();
unspecified.addAddress('0.0.0.0', 'ipv4');
unspecified.addAddress('::', 'ipv6');

function meshOf(
  given: ReadonlyMap<string, Given>,
  stateDir: string,
  mistakes: string[],
  wrong: (name: string, reason: string) => void,
): MeshSettings | undefined {
  const text = (name: string): string | undefined => given.get(name)?.value;
  const address = endpoint('mesh', text('mesh'), 'one', wrong);
  const contact = endpoint('join', text('join'), 'one', wrong);
  const tokenFile = text('join-token-file');
  for (const name of ['join', 'join-token-file', 'ca-key-file', 'certificates-dir']) {
    if (given.has(name) && !given.has('mesh')) wrong(name, 'has no effect without --mesh ADDRESS:PORT');
  }
  if (given.has('join') && tokenFile === undefined) {
    mistakes.push('--join needs --join-token-file FILE: make a token there with: marcher mesh token');
  } else if (tokenFile !== undefined && !given.has('join')) {
    wrong('join-token-file', 'has no effect without --join ADDRESS:PORT');
  }
  const directory = text('certificates-dir');
  if (address === undefined) return undefined;
  return {
    address,
    join: contact === undefined || tokenFile === undefined ? undefined : { ...contact, tokenFile: resolve(tokenFile) },
    caKeyFile: resolve(text('ca-key-file') ?? join(stateDir, 'ca.key')),
    certificatesDir: directory === undefined ? undefined : resolve(directory),
  };
}

function endpoint(
  name: string,
  text: string | undefined,
  which: 'any' | 'one',
  wrong: (name: string, reason: string) => void,
): Address | undefined {
  if (text === undefined || text === 'none') return undefined;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3] ?? Number.NaN);
  const literal = host === 'localhost' ? '127.0.0.1' : host;
  const family = isIP(literal);
  if (match === null || family === 0 || port > 65_535) {
    wrong(name, 'is not an address: write something like 127.0.0.1:7070 or [::1]:7070 (port 0: any free one)');
    return undefined;
  }
  if (which === 'one' && (unspecified.check(literal, family === 6 ? 'ipv6' : 'ipv4') || port === 0 || port > 65_534)) {
    wrong(name, 'is not one address and port: write those at which other nodes reach it, such as 192.0.2.1:7400');
    return undefined;
  }
  return { host, port };
}

function apiOf(
  given: ReadonlyMap<string, Given>,
  wrong: (name: string, reason: string) => void,
): Pick<AgentConfig, 'api' | 'remoteApi'> {
  const text = (name: string): string | undefined => given.get(name)?.value;
  const address = endpoint('api', text('api'), 'any', wrong);
  const [certificate, key] = [text('api-certificate'), text('api-key-file')];
  if (certificate !== undefined && key === undefined) wrong('api-certificate', 'needs its key: --api-key-file FILE');
  if (key !== undefined && certificate === undefined)
    wrong('api-key-file', 'has no effect without --api-certificate FILE');
  if (certificate !== undefined && text('api') === undefined) wrong('api-certificate', 'has no effect without --api');
  if (address === undefined) return { api: undefined, remoteApi: undefined };
  const literal = address.host === 'localhost' ? '127.0.0.1' : address.host;
  const plain = loopback.check(literal, isIP(literal) === 6 ? 'ipv6' : 'ipv4');
  if (plain && certificate === undefined) return { api: address, remoteApi: undefined };
  if (!given.has('mesh')) {
    const what = plain ? 'asks for credentials with --api-certificate' : 'is not a loopback address';
    const fix = 'add --mesh ADDRESS:PORT, or write 127.0.0.1 or [::1] alone, and reach it from elsewhere by SSH';
    wrong('api', `${what}, and only a mesh has users who may call from elsewhere: ${fix}`);
  }
  const own =
    certificate === undefined || key === undefined
      ? undefined
      : { certificate: resolve(certificate), key: resolve(key) };
  return { api: undefined, remoteApi: { address: { host: literal, port: address.port }, certificate: own } };
}
