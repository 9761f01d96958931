// SPDX-License-Identifier: Apache-2.0
/** What is said of a node in a word. */
import type { NodeView } from '@marcher/client/fleet';
import { type Member, MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { Tone } from '../components/badge.js';

export function nodeState({ status, link }: NodeView): readonly [Tone, string] {
  if (status === undefined) return ['plain', 'not known'];
  // What was heard last: how old that is says the badge of its link.
  if (status.draining) return ['warn', 'drained'];
  if (!status.ready) return ['bad', 'not ready'];
  return [link.kind === 'live' ? 'good' : 'plain', 'ready'];
}

const MEMBERS: Readonly<Record<number, readonly [Tone, string]>> = {
  [MemberState.SELF]: ['good', 'alive'],
  [MemberState.ALIVE]: ['good', 'alive'],
  [MemberState.SUSPECT]: ['warn', 'suspect'],
  [MemberState.DEAD]: ['bad', 'dead'],
  [MemberState.LEFT]: ['plain', 'left'],
  [MemberState.UNKNOWN]: ['plain', 'unheard of'],
  [MemberState.DEPARTED]: ['plain', 'departed'],
};

export function memberState({ state }: Pick<Member, 'state'>): readonly [Tone, string] {
  return MEMBERS[state] ?? ['plain', 'not known'];
}

export function memberTone(state: MemberState): Tone {
  return memberState({ state })[0];
}
