// SPDX-License-Identifier: Apache-2.0
/** Who is in the mesh, and what it is sealed and signed by: tokens for new nodes, members taken out, keys of gossip, roots. */
import {
  type Cluster,
  type JoinToken,
  type Member,
  type MeshRoot,
  NodeRole,
} from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { AgentCalls } from '../fleet/contract.js';
import { commandLine } from './command.js';
import { byTyping, type Deed, goneSince, plainly, within } from './deed.js';
import { RemoveMemberDraft } from './remove-member.js';

export interface NewToken {
  /** 1 to 10,080: a week. */
  readonly minutes: number;
  /** authority: it may hold the CA's key, and sign. */
  readonly role: 'member' | 'authority';
  readonly clusters: readonly string[];
}

export function createJoinToken(calls: AgentCalls, { minutes, role, clusters }: NewToken): Deed {
  const title = 'make a token for a new node';
  const into = clusters.length === 0 ? '' : `, into ${clusters.join(', ')}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: [
      `Whoever has it can let one machine in as ${role}${into}, once, within ${minutes} minutes. It is shown once.`,
      ...(role === 'authority' ? ["The machine may hold the CA's key, and sign for the mesh."] : []),
    ],
    lasting: undefined,
    apply: async (signal) => {
      const request = {
        role: role === 'authority' ? NodeRole.AUTHORITY : NodeRole.MEMBER,
        lifetimeMs: minutes * 60_000,
        clusters: [...clusters],
      };
      const { token, address, details } = await calls.mesh.createJoinToken(request, within(signal));
      const advice = `There, with the token in a file that nobody else can read: marcherd --mesh ADDRESS:7400 --join ${address} --join-token-file FILE`;
      const undo = details === undefined ? {} : { undo: revokeJoinToken(calls, details) };
      return { text: 'The token is made.', secret: { what: 'join token', text: token, advice }, ...undo };
    },
    asCommand: (target = {}) =>
      commandLine(target, [
        'mesh',
        'token',
        '--ttl',
        `${minutes}m`,
        '--role',
        role,
        ...(clusters.length > 0 ? ['--cluster', ...clusters] : []),
      ]),
  };
}

export function revokeJoinToken(calls: AgentCalls, { id }: Pick<JoinToken, 'id'>): Deed {
  const title = `take join token ${id} back`;
  return {
    title,
    confirmation: plainly(title),
    consequences: ['Nobody can join by it any more. A node that has joined by it stays.'],
    lasting: 'Make another to let a machine in.',
    apply: async (signal) => {
      await calls.mesh.revokeJoinToken({ id }, within(signal));
      return { text: `Nobody can join by token ${id} any more.` };
    },
    asCommand: (target = {}) => commandLine(target, ['mesh', 'tokens', 'revoke', id]),
  };
}

/** calls: of another member. clusters: those of the mesh, to say what goes with it. */
export function removeMember(
  calls: AgentCalls,
  { nodeId, name }: Pick<Member, 'nodeId' | 'name'>,
  clusters: readonly Cluster[],
): Deed {
  const draft = new RemoveMemberDraft(calls, { id: nodeId, name });
  const last = clusters.filter(({ nodes }) => nodes.length === 1 && nodes[0]?.nodeId === nodeId);
  return {
    title: draft.title,
    confirmation: draft.confirmation,
    consequences: [
      'All members forget it, its certificate is revoked, and gossip gets a new key. It goes on by itself with what it has.',
      ...last.map((cluster) => `It is the last node of cluster ${cluster.name}: ${whatGoes(cluster)}`),
    ],
    lasting: 'It would have to join again, with a new token and another identity.',
    apply: async (signal) => {
      const { members } = await calls.mesh.listMembers({}, within(signal));
      if (!members.some((member) => member.nodeId === nodeId)) throw goneSince(`member ${name}`);
      await draft.apply(signal);
      return { text: `${name} is not a member any more.` };
    },
    asCommand: (target) => draft.asCommand(target),
  };
}

export function rotateGossipKey(calls: AgentCalls): Deed {
  const title = 'give gossip a new key';
  return {
    title,
    confirmation: plainly(title),
    consequences: ['Members that are there get it first, then seal by it, then forget the one before: without a gap.'],
    lasting: 'The key before is forgotten; another change makes another key.',
    apply: async (signal) => {
      const { keyId } = await calls.mesh.rotateGossipKey({}, within(signal));
      return { text: `Gossip gets a new key, ${keyId}.` };
    },
    asCommand: (target = {}) => commandLine(target, ['mesh', 'keys', 'rotate']),
  };
}

/** hours: how long the new root is only trusted, 1 to 720; 'now': until all members that are there trust it. */
export function rotateCa(calls: AgentCalls, hours: number | 'now'): Deed {
  const title = 'make a new root of the CA';
  return {
    title,
    confirmation: byTyping(title, 'new root'),
    consequences: [
      hours === 'now'
        ? 'It signs as soon as all members that are there trust it.'
        : `It is trusted at once, and signs in ${hours} hours. Nobody is refused meanwhile.`,
      'Operators elsewhere need the new root in their --ca-file until then: marcher mesh certificate roots.',
    ],
    lasting: 'A root that was introduced takes over; it can be retired after another one has.',
    apply: async (signal) => {
      const request = hours === 'now' ? { now: true, overlapMs: 1 } : { now: false, overlapMs: hours * 3_600_000 };
      const { root } = await calls.mesh.rotateMeshCa(request, within(signal));
      return { text: `The mesh has a new root, ${root?.fingerprint.slice(0, 16) ?? '?'}.` };
    },
    asCommand: (target = {}) =>
      commandLine(target, ['mesh', 'ca', 'rotate', ...(hours === 'now' ? ['--now'] : ['--overlap', `${hours}h`])]),
  };
}

export function retireRoot(calls: AgentCalls, { fingerprint, leaves }: MeshRoot): Deed {
  const short = fingerprint.slice(0, 16);
  const title = `retire root ${short}`;
  return {
    title,
    confirmation: byTyping(title, short),
    consequences: [
      'What it has signed is taken by no member any more.',
      ...(leaves.length === 0
        ? []
        : [
            `${leaves.length} certificates in use are signed by it: it is refused as long as they are. marcher mesh ca retire ${short} --force cuts them off.`,
          ]),
    ],
    lasting: 'A root that was retired stays so.',
    apply: async (signal) => {
      await calls.mesh.retireMeshRoot({ fingerprint }, within(signal));
      return { text: `Root ${short} is retired.` };
    },
    asCommand: (target = {}) => commandLine(target, ['mesh', 'ca', 'retire', short, '-y']),
  };
}

/** Of certificates by which operators on other machines say who they are. */
export function revokeClientCertificate(
  calls: AgentCalls,
  { serial, user }: { readonly serial: string; readonly user: string },
): Deed {
  const title = `revoke the client certificate of ${user}`;
  return {
    title,
    confirmation: byTyping(title, user),
    consequences: [`Serial ${serial} lets nobody in any more, at any node.`],
    lasting: 'A certificate that was revoked stays so: marcher mesh certificate issue makes another.',
    apply: async (signal) => {
      await calls.mesh.revokeClientCertificate({ serial }, within(signal));
      return { text: `Client certificate ${serial} is revoked.` };
    },
    asCommand: (target = {}) => commandLine(target, ['mesh', 'certificate', 'revoke', serial]),
  };
}

/** Before a cluster, or its last node, goes. */
export function whatGoes({ objects, nodes }: Pick<Cluster, 'objects' | 'nodes'>): string {
  if (objects === undefined) return nodes.length === 0 ? 'Nothing is in it.' : 'What is in it is gone then.';
  return objects === 0n ? 'Nothing is in it.' : `${objects} objects in it are gone then.`;
}
