// SPDX-License-Identifier: Apache-2.0
/**
 * What the preload script puts into the renderer's world: one function for each method, and nothing that takes a channel. It runs
 * in the sandbox, so it has the names and none of the checks, which are the main process's to make.
 */
import type { Bridge } from '../ipc/contract.js';
import { channelOf, METHODS, type Method, type Reply } from '../ipc/names.js';

/** Of Electron's ipcRenderer. */
export interface Invoker {
  invoke(channel: string, ...parameters: unknown[]): Promise<unknown>;
}

/** Of Electron's contextBridge. */
export interface World {
  exposeInMainWorld(name: string, api: object): void;
}

export const BRIDGE_NAME = 'marcher';

export function exposeBridge(world: World, ipc: Invoker): void {
  const call = async (method: Method, parameters: unknown[]): Promise<unknown> => {
    const reply = (await ipc.invoke(channelOf(method), ...parameters)) as Reply;
    if ('failure' in reply) throw new Error(reply.failure);
    return reply.value;
  };
  const bridge = Object.fromEntries(
    METHODS.map((method) => [method, (...parameters: unknown[]) => call(method, parameters)]),
  ) as unknown as Bridge;
  world.exposeInMainWorld(BRIDGE_NAME, bridge);
}
