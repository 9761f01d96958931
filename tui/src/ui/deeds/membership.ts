// SPDX-License-Identifier: Apache-2.0
/** The mesh itself: who is let in, who goes, which clusters a node is in, the key of gossip. */
import { commandLine, RemoveMemberDraft } from '@marcher/client/actions';
import type { NodeView } from '@marcher/client/fleet';
import { type Cluster, NodeRole } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { lastOf, whatGoes } from '../../cli/commands/cluster-loss.js';
import { clock, timeMs } from '../../cli/output/quantity.js';
import { type Deed, type DeedContext, type DeedPlan, Faulty, NO_UNDO, nameOf, timeOf, wordsOf } from './deed.js';

const READ_MS = 10_000;

const token: Deed = {
  ...{ command: 'token', subject: 'node', isOfNone: true, help: 'let a machine join the mesh, once' },
  form: () => ({
    title: 'Make a token that lets one machine join, once',
    fields: [
      { kind: 'text', name: 'ttl', label: 'good for', value: '1h', hint: 'how long it can be used: 1m to 7d' },
      {
        kind: 'choice',
        name: 'role',
        label: 'role',
        choices: ['member', 'authority'],
        hint: "authority: may hold the CA's key, and sign",
      },
      { kind: 'text', name: 'clusters', label: 'clusters', hint: 'that the node is to be in; or nothing' },
    ],
  }),
  plan: (_items, values, { calls, target }) => {
    const lifetimeMs = timeOf(values['ttl'], 'the time', '1m', '7d');
    const role = values['role'] === 'authority' ? 'authority' : 'member';
    const clusters = wordsOf(values['clusters']);
    const into = clusters.length === 0 ? '' : `, into ${clusters.join(', ')}`;
    return {
      question: `Make a token for ${role === 'authority' ? 'an authority' : 'a member'}${into}?`,
      lines: [
        'Whoever has it can join, once. It is shown once. :undo takes it back, as long as nobody has joined by it.',
      ],
      commands: [
        commandLine(target, [
          ...['mesh', 'token', '--ttl', `${lifetimeMs / 60_000}m`, '--role', role],
          ...(clusters.length === 0 ? [] : ['--cluster', ...clusters]),
        ]),
      ],
      apply: async (call) => {
        const request = { lifetimeMs, clusters, role: role === 'authority' ? NodeRole.AUTHORITY : NodeRole.MEMBER };
        const made = await calls.mesh.createJoinToken(request, call);
        const id = made.details?.id ?? '';
        const until = clock(timeMs(made.details?.expires));
        return {
          text: `Token ${id} is good until ${until}. :undo takes it back.`,
          secret: {
            title: `Join token ${id}, good once, until ${until}`,
            lines: [
              ...[
                made.token,
                '',
                'It is shown only here, and only now. There, with the token in a file that nobody else can read:',
              ],
              `marcherd --mesh ADDRESS:7400 --join ${made.address} --join-token-file FILE`,
            ],
          },
          undo: () => takenBack(id, calls, target),
        };
      },
    };
  },
};

function takenBack(id: string, calls: DeedContext['calls'], target: DeedContext['target']): DeedPlan {
  return {
    question: `Take join token ${id} back?`,
    lines: ['Nobody can join by it then. A node that has joined by it stays.', NO_UNDO],
    commands: [commandLine(target, ['mesh', 'tokens', 'revoke', id])],
    apply: async (call) => {
      await calls.mesh.revokeJoinToken({ id }, call);
      return { text: `Nobody can join by token ${id} any more.` };
    },
  };
}

const remove: Deed = {
  ...{ command: 'delete', subject: 'node', help: 'remove it from the mesh' },
  plan: async (items, _values, { calls, target }) => {
    const { key, name, isEntry, member } = items[0] as NodeView;
    if (member === undefined) throw new Faulty(`${name} is in no mesh`);
    if (isEntry)
      throw new Faulty(`${name} is the node that is asked here, and a node does not remove itself: marcher mesh leave`);
    const draft = new RemoveMemberDraft(calls, { id: key, name });
    const { clusters } = await calls.mesh.listClusters({}, { timeoutMs: READ_MS });
    const lost = lastOf(clusters, key);
    const word = draft.confirmation.kind === 'typed' ? draft.confirmation.text : name;
    return {
      question: draft.confirmation.question,
      lines: [
        'It is forgotten, its certificate is revoked, and gossip gets another key. It is let in again only with another token.',
        ...(lost === '' ? [] : [lost]),
        NO_UNDO,
      ],
      commands: [draft.asCommand(target)],
      word,
      apply: async (call) => {
        await draft.apply(AbortSignal.timeout(call.timeoutMs));
        return { text: `Removed ${name} (${key}): its certificate is revoked, and gossip gets another key.` };
      },
    };
  },
};

const rotate: Deed = {
  ...{ command: 'rotate', subject: 'node', isOfNone: true, help: 'give gossip of the whole mesh another key' },
  plan: (_items, _values, { calls, target }) => ({
    question: 'Give gossip another key?',
    lines: [
      'All members get it, then seal by it, then the one before is removed. Nothing stands still meanwhile.',
      `${NO_UNDO} How far it is: marcher mesh keys list`,
    ],
    commands: [commandLine(target, ['mesh', 'keys', 'rotate'])],
    apply: async (call) => {
      const { keyId } = await calls.mesh.rotateGossipKey({}, call);
      return { text: `Gossip gets a new key, ${keyId}.` };
    },
  }),
};

/** Those that there are, so that a mistake is told before something is done. */
async function clustersOf(
  values: { readonly [name: string]: string },
  { calls }: DeedContext,
): Promise<readonly Cluster[]> {
  const { clusters } = await calls.mesh.listClusters({}, { timeoutMs: READ_MS });
  const names = wordsOf(values['clusters']);
  if (names.length === 0) throw new Faulty('expected a cluster or more');
  return names.map((name) => {
    const cluster = clusters.find((each) => each.name === name);
    if (cluster !== undefined) return cluster;
    const known = clusters.map((each) => each.name).join(', ');
    throw new Faulty(
      `there is no cluster "${name}"${known === '' ? ', nor any other: :clusters, then :new' : `: ${known}`}`,
    );
  });
}

const clustersForm = (title: string, value: string, hint: string) => ({
  title,
  fields: [{ kind: 'text', name: 'clusters', label: 'clusters', value, hint }] as const,
});

const assign: Deed = {
  ...{ command: 'assign', subject: 'node', help: 'put it into clusters' },
  form: (items) =>
    clustersForm(
      `Put ${(items[0] as NodeView).name} into clusters`,
      '',
      'it takes over what is in them, and serves it',
    ),
  plan: async (items, values, context) =>
    putInto(
      items[0] as NodeView,
      (await clustersOf(values, context)).map(({ name }) => name),
      context,
    ),
};

function putInto({ key, name, member }: NodeView, clusters: readonly string[], context: DeedContext): DeedPlan {
  const { calls, target } = context;
  const added = clusters.filter((each) => member?.clusters.includes(each) !== true);
  return {
    question: `Put ${name} into ${clusters.join(', ')}?`,
    lines: ['It takes over what is in there, and serves it. :undo takes it out again.'],
    commands: [commandLine(target, ['cluster', 'assign', key, ...clusters])],
    apply: async (call) => {
      await calls.mesh.assignClusters({ node: key, clusters: [...clusters], begin: false }, call);
      return {
        text: `${name} is in ${clusters.join(', ')}. :undo takes it out again.`,
        ...(added.length === 0 ? {} : { undo: () => takeOut({ key, name }, added, '', context) }),
      };
    },
  };
}

const unassign: Deed = {
  ...{ command: 'unassign', subject: 'node', help: 'take it out of clusters' },
  form: (items) => {
    const { name, member } = items[0] as NodeView;
    return clustersForm(
      `Take ${name} out of clusters`,
      member?.clusters.join(' ') ?? '',
      'it serves what is in them no more',
    );
  },
  plan: async (items, values, context) => {
    const clusters = await clustersOf(values, context);
    const { key, name } = items[0] as NodeView;
    return takeOut(
      { key, name },
      clusters.map((cluster) => cluster.name),
      lastOf(clusters, key),
      context,
    );
  },
};

/** lost: what is gone, as it is the last node of one of them. The agent refuses that: it takes --force, which this never gives. */
function takeOut(
  { key, name }: Pick<NodeView, 'key' | 'name'>,
  clusters: readonly string[],
  lost: string,
  { calls, target }: DeedContext,
): DeedPlan {
  if (lost !== '') throw new Faulty(`${lost} marcher cluster unassign ${name} ${clusters.join(' ')} --force does that`);
  return {
    question: `Take ${name} out of ${clusters.join(', ')}?`,
    lines: [
      'It stops serving what is in there, and forgets it. :assign puts it in again: it takes over what is there then.',
    ],
    commands: [commandLine(target, ['cluster', 'unassign', key, ...clusters, '-y'])],
    word: name,
    apply: async (call) => {
      await calls.mesh.unassignClusters({ node: key, clusters: [...clusters], force: false }, call);
      return { text: `${name} is out of ${clusters.join(', ')}.` };
    },
  };
}

const makeCluster: Deed = {
  ...{ command: 'new', subject: 'cluster', isOfNone: true, help: 'make a cluster, without nodes' },
  form: () => ({
    title: 'Make a cluster',
    fields: [{ kind: 'text', name: 'name', label: 'name', hint: '1 to 63 of a-z, 0-9 and -' }],
  }),
  plan: (_items, values, { calls, target }) => {
    const name = nameOf(values);
    return {
      question: `Make cluster ${name}?`,
      lines: ['No node is in it at first: :assign in :nodes puts one in. :undo deletes it again.'],
      commands: [commandLine(target, ['cluster', 'create', name])],
      apply: async (call) => {
        await calls.mesh.createCluster({ name }, call);
        return {
          text: `Made cluster ${name}. :undo deletes it again.`,
          undo: () => gone(name, 'Nothing is in it.', calls, target),
        };
      },
    };
  },
};

const deleteCluster: Deed = {
  ...{ command: 'delete', subject: 'cluster', help: 'delete it; its nodes stay in the mesh' },
  plan: (items, _values, { calls, target }) => {
    const cluster = items[0] as Cluster;
    const { name, objects } = cluster;
    if (objects !== undefined && objects > 0n)
      throw new Faulty(`${whatGoes(cluster)} marcher cluster delete ${name} --force does that`);
    return gone(name, whatGoes(cluster), calls, target);
  },
};

/** The agent refuses it where something is in it: it takes --force, which this never gives. */
function gone(name: string, what: string, calls: DeedContext['calls'], target: DeedContext['target']): DeedPlan {
  return {
    question: `Delete cluster ${name}?`,
    lines: [what, 'Its nodes stay in the mesh.', NO_UNDO],
    commands: [commandLine(target, ['cluster', 'delete', name, '-y'])],
    word: name,
    apply: async (call) => {
      await calls.mesh.deleteCluster({ name, force: false }, call);
      return { text: `Deleted cluster ${name}.` };
    },
  };
}

export const membershipDeeds: readonly Deed[] = [token, remove, rotate, assign, unassign, makeCluster, deleteCluster];
