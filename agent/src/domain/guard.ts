// SPDX-License-Identifier: Apache-2.0
/**
 * What makes guards valid: each for itself, and all together, since they are put together to one (model.proto). Of two
 * rules for the same packets neither is more specific, so that they must not decide differently.
 */
import { type Guard, GuardAction, type GuardRule, Protocol, SynCookiesMode } from '@marcher/model';
import { parseIp, parsePrefix } from './address.js';
import { DEFAULTS, LIMITS } from './defaults.js';
import { clustered, type Faults, known, named, range, time } from './faults.js';

const ACTION_NAME: Readonly<Record<number, string>> = {
  [GuardAction.ALLOW]: 'allow',
  [GuardAction.DENY]: 'deny',
  [GuardAction.REDIRECT]: 'redirect',
};
const PROTOCOL_NAME: Readonly<Record<number, string>> = { [Protocol.TCP]: 'tcp', [Protocol.UDP]: 'udp' };

/** IFNAMSIZ with its final NUL, and what the kernel's dev_valid_name refuses. */
const DEVICE = /^(?!\.{1,2}$)[^\s/:\0]{1,15}$/;

function entriesOf({ sources, ports }: GuardRule): number {
  return Math.max(1, sources.length) * Math.max(1, ports.length);
}

export function validateGuard(guard: Guard, path: string, faults: Faults): void {
  named(faults, path, guard.name, 'guard');
  clustered(faults, path, guard.cluster);
  if (guard.defaultAction === GuardAction.REDIRECT) {
    faults.add(`${path}.default`, 'redirect needs a rule that says where to', 'write allow or deny');
  } else known(faults, path, 'default', guard.defaultAction, GuardAction);
  const { rules, sourceLimits, synCookies } = guard;
  if (rules.length > LIMITS.rulesPerGuard) {
    const fix = `keep at most ${LIMITS.rulesPerGuard}; a rule takes a list of sources`;
    faults.add(`${path}.rules`, `has ${rules.length} rules`, fix);
  } else {
    rules.forEach((rule, i) => {
      if (!faults.full) validateRule(rule, `${path}.rules[${i}]`, faults);
    });
  }
  if (sourceLimits !== undefined) {
    const at = `${path}.sourceLimits`;
    const { packetsPerSecond, bytesPerSecond, connectionsPerSecond } = sourceLimits;
    range(faults, at, 'ipv4Prefix', sourceLimits.ipv4Prefix, 1, 32);
    range(faults, at, 'ipv6Prefix', sourceLimits.ipv6Prefix, 1, 128);
    range(faults, at, 'packetsPerSecond', packetsPerSecond, 1n, LIMITS.eventsPerSecond);
    range(faults, at, 'bytesPerSecond', bytesPerSecond, 1n, LIMITS.bytesPerSecond);
    range(faults, at, 'connectionsPerSecond', connectionsPerSecond, 1n, LIMITS.eventsPerSecond);
    time(faults, at, 'burst', sourceLimits.burstMs, 1, 60_000);
    if ((packetsPerSecond ?? bytesPerSecond ?? connectionsPerSecond) === undefined) {
      const fix = 'write packetsPerSecond, bytesPerSecond or connectionsPerSecond, or remove it';
      faults.add(at, 'limits nothing', fix);
    }
  }
  if (synCookies !== undefined) {
    const at = `${path}.synCookies`;
    known(faults, at, 'mode', synCookies.mode, SynCookiesMode);
    range(faults, at, 'onPerSecond', synCookies.onPerSecond, 1n, LIMITS.eventsPerSecond);
    range(faults, at, 'offPerSecond', synCookies.offPerSecond, 1n, LIMITS.eventsPerSecond);
    const on = synCookies.onPerSecond ?? DEFAULTS.synCookiesOnPerSecond;
    const off = synCookies.offPerSecond ?? DEFAULTS.synCookiesOffPerSecond;
    if (off >= on) {
      const field = synCookies.offPerSecond === undefined ? 'onPerSecond' : 'offPerSecond';
      const reason = `they would go off at ${off} SYNs per second, which is not below ${on}, at which they go on`;
      faults.add(`${at}.${field}`, reason, 'write offPerSecond well below onPerSecond, such as half of it');
    }
  }
}

function validateRule(rule: GuardRule, path: string, faults: Faults): void {
  if (rule.action === GuardAction.UNSPECIFIED) {
    faults.add(`${path}.action`, 'is missing', 'write allow, deny or redirect');
  } else known(faults, path, 'action', rule.action, GuardAction);
  validateSources(rule, path, faults);
  known(faults, path, 'protocol', rule.protocol, Protocol);
  if (rule.ports.length > 0 && rule.protocol === Protocol.UNSPECIFIED) {
    faults.add(`${path}.ports`, 'are of no protocol', 'write protocol: tcp or protocol: udp beside them');
  }
  if (rule.ports.length > LIMITS.portRangesPerPrefix) {
    const reason = `has ${rule.ports.length} ports and ranges`;
    faults.add(`${path}.ports`, reason, `write at most ${LIMITS.portRangesPerPrefix}, using ranges`);
  } else {
    rule.ports.forEach(({ first, last }, i) => {
      const at = `${path}.ports[${i}]`;
      const wrong = [first, last].find((port) => port < 1 || port > 65_535);
      if (wrong !== undefined) faults.add(at, `${wrong} is not a port`, 'write ports from 1 to 65535');
      else if (last < first) faults.add(at, `the range ${first}-${last} runs backwards`, `write "${last}-${first}"`);
    });
  }
  if (rule.unlimited && rule.action !== GuardAction.ALLOW) {
    faults.add(`${path}.unlimited`, 'stands beside an action that is not allow', 'write action: allow, or remove it');
  }
  validateRedirect(rule, `${path}.redirect`, faults);
}

function validateSources({ sources }: GuardRule, path: string, faults: Faults): void {
  if (sources.length > LIMITS.guardEntries) {
    const fix = `keep at most ${LIMITS.guardEntries} over all guards, using larger prefixes`;
    faults.add(`${path}.sources`, `has ${sources.length} prefixes`, fix);
    return;
  }
  for (const [i, text] of sources.entries()) {
    if (faults.full) return;
    const prefix = parsePrefix(text);
    if (typeof prefix !== 'string') continue;
    const shown = JSON.stringify(text.slice(0, 80));
    const at = `${path}.sources[${i}]`;
    if (prefix === 'malformed') {
      const fix = 'write a prefix such as "203.0.113.0/24" or "2001:db8::/32", or an address';
      faults.add(at, `${shown} is not a prefix`, fix);
    } else faults.add(at, `${shown} has bits set beyond its length`, 'write the first address of the prefix');
  }
}

function validateRedirect(rule: GuardRule, path: string, faults: Faults): void {
  const { redirectDevice: device, redirectAddress: address } = rule;
  if (rule.action !== GuardAction.REDIRECT) {
    if (device !== '' || address !== '') {
      faults.add(path, 'stands beside an action that is not redirect', 'write action: redirect, or remove it');
    }
    return;
  }
  if ((device === '') === (address === '')) {
    const reason = device === '' ? 'says neither device nor address' : 'says both device and address';
    faults.add(path, reason, 'write one of them, such as { device: eth1 } or { address: 192.0.2.7 }');
  }
  if (device !== '' && !DEVICE.test(device)) {
    const fix = 'write the name of a network device of this node, such as eth1';
    faults.add(`${path}.device`, `${JSON.stringify(device.slice(0, 80))} is not the name of a device`, fix);
  }
  if (address === '') return;
  const bytes = parseIp(address);
  if (bytes === undefined) {
    const fix = 'write the IP address of the host, which has to be on a link of this node';
    faults.add(`${path}.address`, `${JSON.stringify(address.slice(0, 80))} is not an IP address`, fix);
  } else if (!isOneHost(bytes)) {
    faults.add(`${path}.address`, `${address} is not the address of one host`, 'write a unicast address');
  }
}

/** Unicast, and not this node's own. */
function isOneHost(address: Uint8Array): boolean {
  const first = address[0] ?? 0;
  if (address.length === 4) return first !== 0 && first !== 127 && first < 224;
  return first !== 0xff && address.subarray(0, 15).some((byte) => byte !== 0);
}

export interface PlacedGuard {
  readonly guard: Guard;
  /** Empty: the guard is as it was, and valid for itself. */
  readonly path: string;
}

/** Guards that are each valid for themselves, as they would be together. Faults stand with those that change. */
export function validateGuardsTogether(guards: readonly PlacedGuard[], faults: Faults): void {
  // The unchanged first, so that what comes second has a path.
  const ordered = guards.toSorted((a, b) => Number(a.path !== '') - Number(b.path !== ''));
  validateOnce(ordered, faults);
  let entries = 0;
  let rules = 0;
  for (const { guard, path } of ordered) {
    rules += guard.rules.length;
    if (rules > LIMITS.guardRules) {
      const fix = `keep at most ${LIMITS.guardRules} over all guards; a rule takes a list of sources`;
      faults.add(`${path}.rules`, `with it the guards have ${rules} rules or more`, fix);
      return;
    }
    entries += guard.rules.reduce((sum, rule) => sum + entriesOf(rule), 0);
    if (entries <= LIMITS.guardEntries) continue;
    const reason = `with it the guards have more than ${LIMITS.guardEntries} sources, each counted for each of its port ranges`;
    const fix = 'write larger prefixes and ranges';
    faults.add(`${path}.rules`, reason, fix);
    return;
  }
  new Decisions(faults).judge(ordered);
}

/** What may stand in one guard only. */
const ONCE = {
  default: ({ defaultAction }: Guard) => (defaultAction === GuardAction.UNSPECIFIED ? undefined : defaultAction),
  sourceLimits: ({ sourceLimits }: Guard) => sourceLimits,
  synCookies: ({ synCookies }: Guard) => synCookies,
  'drop.malformed': ({ dropMalformed }: Guard) => dropMalformed,
  'drop.badFragments': ({ dropBadFragments }: Guard) => dropBadFragments,
  'drop.martians': ({ dropMartians }: Guard) => dropMartians,
} as const;

function validateOnce(guards: readonly PlacedGuard[], faults: Faults): void {
  for (const [field, of] of Object.entries(ONCE)) {
    const [owner, ...others] = guards.filter(({ guard }) => of(guard) !== undefined);
    for (const { path } of others) {
      const reason = `stands in guard ${JSON.stringify(owner?.guard.name)} too, and all guards are one`;
      faults.add(`${path}.${field}`, reason, 'keep it in one of them');
    }
  }
}

/** A rule for the packets of one prefix and protocol. */
interface Decision {
  readonly first: number;
  readonly last: number;
  readonly placed: PlacedGuard;
  readonly rule: number;
  /** -1: the rule is for every source. */
  readonly source: number;
}

/** first of a decision for every port: one that names its port is more specific, and no contradiction. */
const EVERY_PORT = 0;

class Decisions {
  readonly #faults: Faults;
  readonly #byPackets = new Map<string, Decision[]>();

  constructor(faults: Faults) {
    this.#faults = faults;
  }

  judge(guards: readonly PlacedGuard[]): void {
    // Those that stay as they are do not contradict each other: of them only what meets a change is kept.
    for (const placed of guards) if (placed.path !== '') this.#collect(placed);
    for (const placed of guards) if (placed.path === '') this.#collect(placed);
    for (const decisions of this.#byPackets.values()) {
      if (this.#faults.full) return;
      if (decisions.length > 1) this.#compare(decisions);
    }
  }

  #collect(placed: PlacedGuard): void {
    placed.guard.rules.forEach((rule, index) => {
      for (const [source, text] of rule.sources.entries()) this.#add(text, source, rule, index, placed);
      if (rule.sources.length > 0) return;
      for (const every of ['0.0.0.0/0', '::/0']) this.#add(every, -1, rule, index, placed);
    });
  }

  #add(text: string, source: number, rule: GuardRule, index: number, placed: PlacedGuard): void {
    const prefix = parsePrefix(text);
    if (typeof prefix === 'string') return;
    const key = `${prefix.address.join('.')}/${prefix.length} ${rule.protocol}`;
    const known = this.#byPackets.get(key);
    if (known === undefined && placed.path === '') return;
    const decisions = known ?? [];
    if (known === undefined) this.#byPackets.set(key, decisions);
    const ranges = rule.ports.length === 0 ? [{ first: EVERY_PORT, last: EVERY_PORT }] : rule.ports;
    for (const { first, last } of ranges) decisions.push({ first, last, placed, rule: index, source });
  }

  /** In the order of ports: what overlaps an earlier one overlaps the one that reaches furthest. */
  #compare(decisions: Decision[]): void {
    decisions.sort((a, b) => a.first - b.first);
    this.#count(decisions);
    let reach = decisions[0] as Decision;
    for (const decision of decisions.slice(1)) {
      if (decision.first <= reach.last && verdictOf(decision) !== verdictOf(reach)) this.#report(reach, decision);
      if (decision.last > reach.last) reach = decision;
    }
  }

  #count(decisions: readonly Decision[]): void {
    const ranges = decisions.filter(({ first }) => first !== EVERY_PORT);
    if (ranges.length <= LIMITS.portRangesPerPrefix) return;
    const { placed, rule, source } = ranges.find((each) => each.placed.path !== '') ?? (ranges[0] as Decision);
    const from = source === -1 ? 'every source' : (placed.guard.rules[rule]?.sources[source] ?? '');
    const reason = `${ranges.length} ports and ranges are named for ${from} by all rules together`;
    const fix = `write at most ${LIMITS.portRangesPerPrefix}, using ranges`;
    this.#faults.add(`${placed.path}.rules[${rule}].ports`, reason, fix);
  }

  #report(a: Decision, b: Decision): void {
    const [other, here] = b.placed.path === '' ? [b, a] : [a, b];
    const { placed, rule, source } = here;
    const { protocol, action, sources } = placed.guard.rules[rule] as GuardRule;
    const from = source === -1 ? 'every source' : (sources[source] ?? '');
    const name = PROTOCOL_NAME[protocol];
    const port = here.first === EVERY_PORT ? '' : ` port ${Math.max(a.first, b.first)}`;
    const packets = name === undefined ? from : `${name}${port} from ${from}`;
    const otherAction = ACTION_NAME[other.placed.guard.rules[other.rule]?.action ?? 0];
    const sameGuard = other.placed === placed;
    const where = `${sameGuard ? '' : `guard ${JSON.stringify(other.placed.guard.name)}, `}rules[${other.rule}]`;
    const reason = `${ACTION_NAME[action]} of ${packets} contradicts ${otherAction} of the same in ${where}`;
    const at = `${placed.path}.rules[${rule}]${source === -1 ? '' : `.sources[${source}]`}`;
    this.#faults.add(at, reason, 'keep one of the two, or make one more specific');
  }
}

function verdictOf({ placed, rule }: Decision): string {
  const { action, unlimited, redirectDevice, redirectAddress } = placed.guard.rules[rule] as GuardRule;
  return `${action} ${unlimited} ${redirectDevice} ${redirectAddress}`;
}
