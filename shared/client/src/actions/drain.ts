// SPDX-License-Identifier: Apache-2.0
/** Taking nodes, or a backend on nodes, out of service and back in. Each node does it for itself. */
import type { AgentCalls, NodeKey } from '../fleet/contract.js';
import { plainText } from '../fleet/plain-text.js';
import { type CommandTarget, commandLine } from './command.js';
import type { Confirmation } from './confirmation.js';

export interface DrainedNode {
  readonly key: NodeKey;
  /** As --node takes it: its name, or its id where others have the same name. */
  readonly name: string;
  /** The one that the console was started with: the command line needs no --node. */
  readonly isEntry: boolean;
  readonly calls: AgentCalls;
}

export interface DrainOptions {
  readonly verb: 'drain' | 'undrain';
  /** undefined: the nodes themselves. */
  readonly backend?: { readonly service: string; readonly backend: string };
  readonly nodes: readonly DrainedNode[];
}

/** What one node has made of it. */
export type DrainResult =
  | { readonly node: NodeKey; readonly name: string; readonly connections: bigint }
  | { readonly node: NodeKey; readonly name: string; readonly error: string };

export class DrainDraft {
  readonly #options: DrainOptions;

  /** RangeError: no node. */
  constructor(options: DrainOptions) {
    if (options.nodes.length === 0) throw new RangeError('expected a node that is to do it');
    this.#options = options;
  }

  /** "drain backend web/a on 3 nodes", "undrain node01" */
  get title(): string {
    const { verb, backend, nodes } = this.#options;
    const where = nodes.length === 1 ? (nodes[0]?.name ?? '') : `${nodes.length} nodes`;
    return backend === undefined
      ? `${verb} ${where}`
      : `${verb} backend ${backend.service}/${backend.backend} on ${where}`;
  }

  /** A node that is drained takes nothing new for any service. */
  get confirmation(): Confirmation {
    const { verb, backend, nodes } = this.#options;
    const question = `${this.title.charAt(0).toUpperCase()}${this.title.slice(1)}?`;
    if (verb === 'undrain' || backend !== undefined) return { kind: 'plain', question };
    return { kind: 'typed', question, text: nodes.length === 1 ? (nodes[0]?.name ?? '') : `drain ${nodes.length}` };
  }

  /** By all nodes at once. Never fails: each says for itself. */
  async apply(signal?: AbortSignal): Promise<readonly DrainResult[]> {
    const { verb, backend, nodes } = this.#options;
    const request = { service: backend?.service ?? '', backend: backend?.backend ?? '' };
    const call = signal === undefined ? {} : { signal };
    return await Promise.all(
      nodes.map(async ({ key: node, name, calls }): Promise<DrainResult> => {
        try {
          if (verb === 'drain') {
            const { connections } = await calls.node.drain(request, call);
            return { node, name, connections };
          }
          await calls.node.undrain(request, call);
          return { node, name, connections: 0n };
        } catch (error) {
          return { node, name, error: plainText(error instanceof Error ? error.message : String(error)) };
        }
      }),
    );
  }

  /** The opposite, at the nodes that have done it. undefined: none has. */
  undo(results: readonly DrainResult[]): DrainDraft | undefined {
    const { verb, backend, nodes } = this.#options;
    const done = new Set(results.filter((result) => !('error' in result)).map(({ node }) => node));
    const undone = nodes.filter(({ key }) => done.has(key));
    if (undone.length === 0) return undefined;
    return new DrainDraft({
      verb: verb === 'drain' ? 'undrain' : 'drain',
      nodes: undone,
      ...(backend === undefined ? {} : { backend }),
    });
  }

  asCommand(target: CommandTarget = {}): string {
    const { verb, backend, nodes } = this.#options;
    const what = backend === undefined ? [] : [backend.service, backend.backend];
    return nodes
      .map(({ name, isEntry }) => commandLine(target, [verb, ...what, ...(isEntry ? [] : ['--node', name])]))
      .join('\n');
  }
}
