// SPDX-License-Identifier: Apache-2.0
/** The keys that gossip is sealed by: only their fingerprints are ever shown. */
import {
  type GossipKeyUse,
  KeyRotationState,
  type ListGossipKeysResponse,
  ListGossipKeysResponseSchema,
  RotateGossipKeyResponseSchema,
} from '@marcher/proto/marcher/v1/mesh_service_pb';
import { age, timeMs } from '../output/quantity.js';
import { writeMessage } from '../output/structured.js';
import { printable } from '../output/style.js';
import type { Column } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { writeTable } from './get.js';
import { asked } from './mesh.js';

interface KeyOptions extends TargetOptions {
  readonly output: 'text' | 'table' | 'json' | 'yaml';
}

export async function rotate(session: Session, options: KeyOptions): Promise<undefined> {
  const agent = await session.agent(options);
  const answer = await asked(agent.mesh.rotateGossipKey({}, session.call(options)));
  if (await writeMessage(session, options, RotateGossipKeyResponseSchema, answer)) return;
  await session.write(`Gossip gets a new key, ${answer.keyId}.\n`);
  process.stderr.write('How far it is: marcher mesh keys list\n');
}

export async function list(session: Session, options: KeyOptions): Promise<undefined> {
  const agent = await session.agent(options);
  const answer = await agent.mesh.listGossipKeys({}, session.call(options));
  if (await writeMessage(session, options, ListGossipKeysResponseSchema, answer)) return;
  await writeTable(session, columns(answer), answer.keys, 'keys');
  process.stderr.write(`${stateText(answer)}\n`);
}

function columns({ target }: ListGossipKeysResponse): Column<GossipKeyUse>[] {
  return [
    { title: 'KEY', value: ({ keyId }) => keyId },
    { title: 'STATE', value: ({ keyId, primary }) => keyState(keyId === target, primary) },
    { title: 'HELD-BY', value: ({ heldBy }) => heldBy.join(', ') || '-' },
    { title: 'SEALS-AT', value: ({ primaryOf }) => primaryOf.join(', ') || '-' },
  ];
}

function keyState(newest: boolean, primary: boolean): string {
  if (primary) return newest ? 'in use' : 'in use, to be replaced';
  return newest ? 'new' : 'old';
}

function stateText({ state, begun, waitingFor }: ListGossipKeysResponse): string {
  const begunMs = timeMs(begun);
  const since = begunMs === undefined ? '' : `, begun ${age(Math.max(0, Date.now() - begunMs))} ago`;
  const names = waitingFor.slice(0, 10).map(printable).join(', ');
  const more = waitingFor.length > 10 ? ` and ${waitingFor.length - 10} more` : '';
  switch (state) {
    case KeyRotationState.DONE:
      return 'All members that are there seal by the newest key.';
    case KeyRotationState.INSTALLING:
      return `The new key is brought to the members${since}${names === '' ? '' : `; waiting for ${names}${more}`}.`;
    case KeyRotationState.USING:
      return `Members begin to seal by the new key${since}${names === '' ? '' : `; waiting for ${names}${more}`}.`;
    case KeyRotationState.REMOVING:
      return `All members that are there seal by the newest key; older ones are removed within a minute${since}.`;
    default:
      return `The agent names a state that this program does not know: ${state}.`;
  }
}
