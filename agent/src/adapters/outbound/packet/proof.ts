// SPDX-License-Identifier: Apache-2.0
/** What the library's probe of this host's kernel means for the tier: whether it may be offered, and what is known of it. */
import { type Probe, ProbeOutcome, type ProbeResult } from '@marcher/proto/marcher/packet/v1/packet_pb';

export interface Proof {
  /** It is not to be offered. */
  readonly failed: boolean;
  /** Why not and what to do, or what was seen. */
  readonly text: string;
}

const { PASSED, FAILED, NOT_RUN } = ProbeOutcome;

function told({ reason, remedy }: ProbeResult): string {
  return remedy === '' ? reason : `${reason}; ${remedy}`;
}

/**
 * xdp false: XDP is not asked for, and it is enough that the kernel takes the programs.
 *
 * A kind of packet counts as failed when it came out in no mode that could be tried: the driver of a real interface is
 * another one than that of the scratch namespace.
 */
export function proofOf({ results }: Probe, xdp = true): Proof {
  const load = results.find(({ what }) => what === 'load');
  if (load === undefined) return { failed: false, text: 'not tried on a real packet: the library does not say why' };
  if (load.outcome === FAILED) return { failed: true, text: told(load) };
  if (!xdp) return { failed: false, text: '' };
  const kinds = [...new Set(results.map(({ what }) => what).filter((what) => what !== 'load' && what !== 'attach'))];
  const of = (kind: string) => results.filter(({ what }) => what === kind);
  const lost = kinds.filter((kind) => of(kind).every(({ outcome }) => outcome === FAILED));
  const [first] = lost;
  if (first !== undefined) {
    const why = of(first)[0];
    return { failed: true, text: `${lost.join(', ')}: ${why === undefined ? '' : told(why)}` };
  }
  // Nothing of a mode that could not be attached was tried.
  const unattached = results.filter(({ what, outcome }) => what === 'attach' && outcome === FAILED);
  if (kinds.length === 0 && unattached.length > 0) return { failed: true, text: unattached.map(told).join('; ') };
  const untried = results.find(({ outcome }) => outcome === NOT_RUN);
  if (untried !== undefined) return { failed: false, text: told(untried) };
  const modes = [...new Set(results.filter(({ outcome }) => outcome === PASSED).map(({ mode }) => mode))];
  const seen = `real packets passed by ${kinds.join(', ')} (${modes.filter((mode) => mode !== '').join(' and ')})`;
  const partly = results
    .filter(({ outcome }) => outcome === FAILED)
    .map((one) => `${one.what} ${one.mode}: ${told(one)}`);
  return { failed: false, text: [seen, ...partly].join('; ') };
}
