// SPDX-License-Identifier: Apache-2.0
/** All views, in the order in which they are listed. The dashboard is a text, and has no rows. */
import type { Named } from '../commands/interpreter.js';
import { keys, users } from './access.js';
import { audit } from './audit.js';
import { backends } from './backends.js';
import { certificates } from './certificates.js';
import { clusters } from './clusters.js';
import { conflicts } from './conflicts.js';
import { connections } from './connections.js';
import { guards } from './guards.js';
import { history } from './history.js';
import { listeners } from './listeners.js';
import { logs } from './logs.js';
import { members } from './members.js';
import { nodes } from './nodes.js';
import { policies } from './policies.js';
import { services } from './services.js';
import type { View } from './view.js';

// A view is only given items of its own.
const all = [
  ...[nodes, services, backends, listeners, policies, guards, connections, logs],
  ...[members, clusters, conflicts, history, certificates, users, keys, audit],
] as unknown as readonly View[];

export const VIEWS: ReadonlyMap<string, View> = new Map(all.map((view) => [view.name, view]));

export const DASHBOARD: Named & { readonly help: string } = {
  name: 'dashboard',
  aliases: ['dash', 'home'],
  help: 'the mesh at a glance',
};

/** What ":" may name. */
export const VIEW_NAMES: readonly (Named & { readonly help: string })[] = [DASHBOARD, ...all];
