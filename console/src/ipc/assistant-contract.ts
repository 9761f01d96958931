// SPDX-License-Identifier: Apache-2.0
/** Of setting up: this machine's agent, an agent elsewhere, a node that is added by SSH. */
import { z } from 'zod';
import type { ASSISTANT_METHODS } from './names.js';
import { meshName, type Shape, shape } from './shape.js';

export type AssistantMethod = (typeof ASSISTANT_METHODS)[number];

const sentence = z.string().max(2_000);

/**
 * answers: it does, to this person. denied: there is one, and this person may not. stopped: it is installed, and command
 * starts it. absent: it is not.
 */
const localAgent = z.object({
  state: z.enum(['answers', 'denied', 'stopped', 'absent']),
  text: sentence,
  nodeName: z.string().max(300).optional(),
  version: z.string().max(100).optional(),
  /** Of the mesh that it is in. */
  mesh: z.string().max(100).optional(),
  command: z.string().max(300).optional(),
});

const url = z.string().min(1).max(1_024);
/** SHA-256, hex. */
const fingerprint = z.string().regex(/^[0-9a-f]{64}$/);

const root = z.object({
  fingerprint,
  subject: z.string().max(500),
  expires: z.string().max(100),
});

const host = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$/, 'expected a host name, an address, or an alias of ~/.ssh/config');
const port = z.int().min(1).max(65_535);

const machine = z.object({
  /** Whose entry agent lets the node in. */
  mesh: meshName,
  host,
  port: port.optional(),
  user: z
    .string()
    .regex(/^[^\s:/@-][^\s:/@]{0,63}$/, 'expected the name of a user')
    .optional(),
  /** Absolute: the one key to show. */
  identityFile: z.string().startsWith('/').max(1_024).optional(),
  meshPort: port.max(65_534),
});

const looked = z.object({
  facts: z.array(z.tuple([z.string().max(100), z.string().max(500)])).max(20),
  findings: z.array(z.object({ severity: z.enum(['stop', 'warn']), text: sentence })).max(50),
  /** What the form begins with. */
  nodeName: z.string().max(300),
  meshAddress: z.string().max(100),
  /** What would be sent. */
  archive: z.string().max(300),
});

const step = z.object({
  name: z.string().max(40),
  title: z.string().max(100),
  phase: z.enum(['waiting', 'running', 'done', 'failed', 'undoing', 'undone', 'left']),
  share: z.number().min(0).max(1).optional(),
  lines: z.array(z.string().max(400)).max(50),
  reason: sentence.optional(),
});

const progress = z.object({
  /** Larger with each change. */
  revision: z.int().nonnegative(),
  /** none: nothing is being added. */
  phase: z.enum(['none', 'ready', 'running', 'done', 'failed', 'undoing', 'undone', 'left', 'kept']),
  nodeName: z.string().max(300),
  host: z.string().max(300),
  steps: z.array(step).max(10),
});

export const assistantContract = {
  localAgent: shape(z.tuple([]), localAgent),
  /** By the command that localAgent() says; the person has to have seen it. */
  startLocalAgent: shape(z.tuple([]), localAgent),
  /** What an agent shows, of which nothing is proven. Empty: it is not one of a mesh's own CA. */
  rootsOf: shape(z.tuple([url]), z.array(root).max(3)),
  /** fingerprint: of the root that somebody has compared; for https:// alone. */
  addMesh: shape(z.tuple([z.object({ name: meshName, url, fingerprint: fingerprint.optional() })]), z.void()),
  /** Changes nothing there. Asks, by nextQuestion, whose key that is and what the login takes. */
  lookAtMachine: shape(z.tuple([machine]), looked),
  /** The machine that was looked at last. Returns when it has begun. */
  addNode: shape(z.tuple([z.object({ nodeName: z.string().max(300), meshAddress: z.string().max(100) })]), z.void()),
  /** Waits for a revision that is larger. */
  nodeProgress: shape(z.tuple([z.int().min(-1)]), progress),
  stopAddingNode: shape(z.tuple([]), z.void()),
  /** Returns when it has begun. */
  undoAddedNode: shape(z.tuple([]), z.void()),
  keepAddedNode: shape(z.tuple([]), z.void()),
} satisfies Record<AssistantMethod, Shape>;

export type LocalAgentView = z.output<typeof localAgent>;
export type RootView = z.output<typeof root>;
export type MachineView = z.output<typeof looked>;
export type MachineChoice = z.output<typeof machine>;
export type ProgressView = z.output<typeof progress>;
