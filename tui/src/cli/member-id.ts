// SPDX-License-Identifier: Apache-2.0
/** --node: which member is meant. */
import type { AgentClient } from '@marcher/client';
import { MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { ExitCode } from './exit-code.js';
import { Failure, usage } from './failure.js';

const NODE_ID = /^[0-9a-f]{16}$/;

/** node: its name or id. Fails with what to do where none or several have it. */
export async function memberId(
  agent: Pick<AgentClient, 'mesh'>,
  node: string,
  call: { readonly timeoutMs: number },
): Promise<string> {
  // The agent says whether there is one.
  if (NODE_ID.test(node)) return node;
  const { members } = await agent.mesh.listMembers({}, call);
  const named = members.filter(({ name, state }) => name === node && state !== MemberState.DEPARTED);
  const [member, ...others] = named;
  if (member === undefined) {
    throw new Failure(ExitCode.notFound, `there is no member ${JSON.stringify(node)}: see marcher mesh members`);
  }
  if (others.length === 0) return member.nodeId;
  const ids = named.map(({ nodeId }) => nodeId).join(', ');
  throw usage(`--node is "${node}", which ${named.length} members are called: expected the id of one, such as ${ids}`);
}
