// SPDX-License-Identifier: Apache-2.0
/** What the library's probe of this host's kernel means for the tiers: what may be offered, and what is known of it. */
import { type Probe, ProbeOutcome, type ProbeResult } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { EVERYTHING, kindOf, NO_PROOF, type PacketProof, type TierProof } from '../../../domain/packet-proof.js';

export interface Proof extends PacketProof {
  /** Nothing is to be offered: why, and what to do. "": something is. */
  readonly failure: string;
}

const { PASSED, FAILED, NOT_RUN } = ProbeOutcome;
/** Modes of a result's that are tc's, as is everything of NAT. */
const TC_MODES: ReadonlySet<string> = new Set(['tcx', 'clsact']);

function told({ reason, remedy }: ProbeResult): string {
  return remedy === '' ? reason : `${reason}; ${remedy}`;
}

/** With the mode where one was tried. */
function named({ what, mode, family }: ProbeResult): string {
  return [kindOf(what, family), mode].filter((word) => word !== '').join(' ');
}

function kindsOf(results: readonly ProbeResult[]): string[] {
  return [...new Set(results.map(({ what, family }) => kindOf(what, family)))];
}

/** "ipip, gue over IPv4 and IPv6; l2 over IPv4" */
function summary(kinds: ReadonlyMap<string, readonly string[]>): string {
  const byFamilies = new Map<string, string[]>();
  for (const [what, families] of kinds) {
    const key = families.join(' and ');
    byFamilies.set(key, [...(byFamilies.get(key) ?? []), what]);
  }
  return [...byFamilies]
    .map(([families, whats]) => (families === '' ? whats.join(', ') : `${whats.join(', ')} over ${families}`))
    .join('; ');
}

/**
 * A kind of packet counts as lost when it came out in no mode that could be tried: the driver of a real interface is
 * another one than that of the scratch namespace.
 */
function tierProof(results: readonly ProbeResult[]): TierProof {
  const lost = new Map<string, string>();
  const attaching = results.filter(({ what }) => what === 'attach');
  const tried = results.filter(({ what }) => what !== 'attach');
  const unattached = attaching.filter(({ outcome }) => outcome === FAILED);
  if (attaching.length > 0 && unattached.length === attaching.length) {
    const why = unattached.map((one) => `${named(one)}: ${told(one)}`).join('; ');
    return { text: why, lost: new Map([[EVERYTHING, why]]) };
  }
  for (const kind of kindsOf(tried)) {
    const of = tried.filter(({ what, family }) => kindOf(what, family) === kind);
    const [first] = of;
    if (first !== undefined && of.every(({ outcome }) => outcome === FAILED)) lost.set(kind, told(first));
  }
  const passed = tried.filter(({ outcome }) => outcome === PASSED);
  const families = new Map<string, string[]>();
  for (const { what, family } of passed) {
    const known = families.get(what) ?? [];
    const name = family === 'ipv6' ? 'IPv6' : family === 'ipv4' ? 'IPv4' : '';
    if (!known.includes(name)) families.set(what, [...known, name]);
  }
  const modes = [...new Set(passed.map(({ mode }) => mode))].filter((mode) => mode !== '');
  const seen = passed.length === 0 ? [] : [`real packets passed by ${summary(families)} (${modes.join(' and ')})`];
  const failed = results.filter(({ outcome }) => outcome === FAILED).map((one) => `${named(one)}: ${told(one)}`);
  // The same is said of every kind.
  const untried = new Set(tried.filter(({ outcome }) => outcome === NOT_RUN).map(told));
  return { text: [...seen, ...failed, ...untried].join('; '), lost };
}

/** xdp false: XDP is not asked for. */
export function proofOf({ results }: Probe, xdp = true): Proof {
  const load = results.find(({ what }) => what === 'load');
  if (load === undefined) {
    const unknown = { text: 'not tried on a real packet: the library does not say why', lost: new Map() };
    return { failure: '', xdp: unknown, tc: unknown };
  }
  if (load.outcome === FAILED) return { ...NO_PROOF, failure: told(load) };
  const isTc = ({ what, mode }: ProbeResult): boolean => what === 'nat' || TC_MODES.has(mode);
  const proof = {
    xdp: tierProof(results.filter((one) => one.what !== 'load' && !isTc(one))),
    tc: tierProof(results.filter(isTc)),
  };
  const nothing = ({ lost }: TierProof): boolean => lost.has(EVERYTHING);
  const failed = nothing(proof.tc) && (!xdp || nothing(proof.xdp));
  const failure = failed ? [...(xdp ? [proof.xdp.text] : []), proof.tc.text].join('; ') : '';
  return { failure, ...proof };
}

/** Lost is what was lost both times: a machine that is busy may miss a packet. */
export function both(one: PacketProof, other: Proof): Proof {
  const common = (a: TierProof, b: TierProof): TierProof => ({
    text: b.text,
    lost: new Map([...b.lost].filter(([kind]) => a.lost.has(kind) || a.lost.has(EVERYTHING))),
  });
  return { failure: other.failure, xdp: common(one.xdp, other.xdp), tc: common(one.tc, other.tc) };
}
