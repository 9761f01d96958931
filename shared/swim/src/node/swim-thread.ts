// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads';
import type { JoinFailure } from '../core/contract.js';
import type { RememberedMember } from '../core/swim.js';
import type { Address, NodeState } from '../wire/message.js';
import type { NodeEvent, NodeStats } from './network-node.js';
import type { NodeOptions } from './options.js';
import type { Command, Failure, FromNode, ToNode } from './thread-messages.js';

/** Said by the thread that runs the node; its name is that of the error there. */
export class SwimError extends Error {
  override readonly name: string;

  constructor({ name, message }: Failure) {
    super(message);
    this.name = name;
  }
}

export interface JoinResult {
  readonly reached: number;
  /** At most 100. */
  readonly failures: readonly JoinFailure[];
}

export interface SwimListener {
  readonly event: (event: NodeEvent) => void;
  /** This thread did not keep up: so many events are missing, and members() is right again. */
  readonly resync?: (lost: number) => void;
  /** The node's thread has ended without being asked to; nothing works any more. */
  readonly died?: (error: Error) => void;
}

/** A node in a thread of its own, so that a busy main thread does not look like a dead member. */
export class SwimThread {
  /** Where others reach it. */
  readonly address: Address;
  readonly #worker: Worker;
  readonly #listener: SwimListener;
  readonly #members = new Map<string, NodeState>();
  readonly #calls = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #call = 0;
  #ended: Error | undefined;

  private constructor(worker: Worker, address: Address, listener: SwimListener) {
    this.#worker = worker;
    this.#listener = listener;
    this.address = address;
    worker.on('message', (message: FromNode) => this.#heard(message));
  }

  /**
   * Rejects with SwimError when the node cannot start. code: the program of the thread, for those who bundle this
   * package.
   */
  static start(
    options: NodeOptions,
    listener: SwimListener,
    code: URL = new URL('./worker.js', import.meta.url),
  ): Promise<SwimThread> {
    const { promise, resolve, reject } = Promise.withResolvers<SwimThread>();
    const worker = new Worker(code, { workerData: options, name: `swim ${options.name}` });
    let thread: SwimThread | undefined;
    const ended = (error: Error): void => {
      reject(error);
      if (thread) thread.#end(error);
    };
    worker.on('error', ended);
    worker.on('exit', (status) => ended(new Error(`the thread of ${options.name} has ended with ${status}`)));
    worker.once('message', (message: FromNode) => {
      if (message.type === 'started') {
        thread = new SwimThread(worker, message.address, listener);
        resolve(thread);
      } else if (message.type === 'not-started') reject(new SwimError(message.error));
    });
    return promise;
  }

  /** As far as this thread has heard: everyone but this node, with those that died or left of late. */
  members(): readonly NodeState[] {
    return [...this.#members.values()];
  }

  /**
   * Exchanges state with each, and keeps them as seeds for when this node is alone. A host may be a name, looked up
   * each time.
   */
  join(addresses: readonly Address[]): Promise<JoinResult> {
    return this.#ask({ do: 'join', addresses });
  }

  /** Resolves to whether it could be announced. Afterwards: close. */
  leave(timeoutMs: number): Promise<boolean> {
    return this.#ask({ do: 'leave', timeoutMs });
  }

  /** At most 512 bytes; resolves once it is announced. */
  updateMeta(meta: Uint8Array): Promise<void> {
    return this.#ask({ do: 'update-meta', meta });
  }

  /** See Swim.broadcast. */
  broadcast(body: Uint8Array, key?: string): Promise<void> {
    return this.#ask({ do: 'broadcast', body, key });
  }

  sendBestEffort(to: string, body: Uint8Array): Promise<void> {
    return this.#ask({ do: 'send-best-effort', to, body });
  }

  /** Rejects when it could not be sent whole. */
  sendReliable(to: string, body: Uint8Array): Promise<void> {
    return this.#ask({ do: 'send-reliable', to, body });
  }

  setUserState(state: Uint8Array): Promise<void> {
    return this.#ask({ do: 'set-user-state', state });
  }

  remember(members: readonly RememberedMember[]): Promise<void> {
    return this.#ask({ do: 'remember', members });
  }

  /** Rejects with what Keyring throws. */
  changeKey(how: 'install' | 'use' | 'remove', key: Uint8Array): Promise<void> {
    return this.#ask({ do: 'key', how, key });
  }

  /** The first seals. */
  keys(): Promise<readonly Uint8Array[]> {
    return this.#ask({ do: 'keys' });
  }

  stats(): Promise<NodeStats> {
    return this.#ask({ do: 'stats' });
  }

  /** Without a good-bye. */
  async close(): Promise<void> {
    if (this.#ended) return;
    await this.#ask({ do: 'close' });
    this.#ended = new Error('closed');
    await this.#worker.terminate();
  }

  #ask<T>(command: Command): Promise<T> {
    if (this.#ended) return Promise.reject(this.#ended);
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const id = ++this.#call;
    this.#calls.set(id, { resolve, reject });
    this.#post({ type: 'command', id, command });
    return promise;
  }

  #post(message: ToNode): void {
    this.#worker.postMessage(message);
  }

  #heard(message: FromNode): void {
    if (message.type === 'events') {
      for (const event of message.events) {
        this.#note(event);
        this.#listener.event(event);
      }
      this.#post({ type: 'taken', count: message.events.length });
    } else if (message.type === 'resync') {
      this.#members.clear();
      for (const node of message.members) this.#members.set(node.name, node);
      this.#listener.resync?.(message.lost);
    } else if (message.type === 'result' || message.type === 'failed') {
      const call = this.#calls.get(message.id);
      this.#calls.delete(message.id);
      if (message.type === 'failed') call?.reject(new SwimError(message.error));
      else call?.resolve(message.value as never);
    }
  }

  #note(event: NodeEvent): void {
    if (event.type === 'forgotten') this.#members.delete(event.name);
    else if ('node' in event) this.#members.set(event.node.name, event.node);
  }

  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    for (const { reject } of this.#calls.values()) reject(error);
    this.#calls.clear();
    this.#listener.died?.(error);
  }
}
