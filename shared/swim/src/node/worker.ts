// SPDX-License-Identifier: Apache-2.0
/** The thread in which a node runs, apart from whatever may keep the main thread busy: see swim-thread.ts. */
import { setImmediate } from 'node:timers';
import { parentPort, workerData } from 'node:worker_threads';
import { EventOutlet } from './event-outlet.js';
import { NetworkNode, type NodeEvent } from './network-node.js';
import type { NodeOptions } from './options.js';
import type { Command, Failure, FromNode, ToNode } from './thread-messages.js';

const port = parentPort;
if (!port) throw new Error('worker.js runs in a thread of its own: use startSwim');

const post = (message: FromNode): void => port.postMessage(message);
/** Commands whose answer is an event with the command's number. */
const awaited = new Set<number>();
let leaving: number | undefined;
let node: NetworkNode | undefined;
const { name: self } = workerData as NodeOptions;
const outlet = new EventOutlet(post, () => node?.swim.members().filter(({ name }) => name !== self) ?? []);

function heard(event: NodeEvent): void {
  if (event.type === 'departed' && leaving !== undefined) {
    post({ type: 'result', id: leaving, value: event.announced });
    leaving = undefined;
  }
  if ((event.type === 'joined' || event.type === 'updated' || event.type === 'delivered') && awaited.delete(event.id)) {
    if (event.type === 'delivered' && event.error !== undefined) {
      post({ type: 'failed', id: event.id, error: { name: 'DeliveryError', message: event.error } });
    } else post({ type: 'result', id: event.id, value: event.type === 'joined' ? event : undefined });
    return;
  }
  if (outlet.add(event)) setImmediate(() => outlet.flush());
}

function failure(error: unknown): Failure {
  return error instanceof Error
    ? { name: error.name, message: error.message }
    : { name: 'Error', message: String(error) };
}

/** undefined: the answer comes as an event. */
async function obey(running: NetworkNode, id: number, command: Command): Promise<{ value: unknown } | undefined> {
  switch (command.do) {
    case 'join':
      awaited.add(id);
      running.carryOut((swim, now) => swim.join(id, command.addresses, now));
      return undefined;
    case 'update-meta':
      awaited.add(id);
      running.carryOut((swim, now) => swim.updateMeta(id, command.meta, now));
      return undefined;
    case 'send-reliable':
      awaited.add(id);
      running.carryOut((swim, now) => swim.sendReliable(id, command.to, command.body, now));
      return undefined;
    case 'leave':
      leaving = id;
      running.carryOut((swim, now) => swim.leave(command.timeoutMs, now));
      return undefined;
    case 'broadcast':
      running.carryOut((swim, now) => swim.broadcast(command.body, command.key, now));
      return { value: undefined };
    case 'send-best-effort':
      running.carryOut((swim, now) => swim.sendBestEffort(command.to, command.body, now));
      return { value: undefined };
    case 'set-user-state':
      running.setUserState(command.state);
      return { value: undefined };
    case 'remember':
      running.carryOut((swim, now) => swim.remember(command.members, now));
      return { value: undefined };
    case 'key':
      if (!running.keyring) throw new Error('this node has no keys: start it with one');
      running.keyring[command.how](command.key);
      return { value: undefined };
    case 'keys':
      return { value: running.keyring?.keys ?? [] };
    case 'stats':
      return { value: running.stats() };
    case 'close':
      await running.close();
      return { value: undefined };
  }
}

try {
  const running = await NetworkNode.start(workerData as NodeOptions, heard);
  node = running;
  port.on('message', (message: ToNode) => {
    if (message.type === 'taken') {
      outlet.taken(message.count);
      return;
    }
    const { id, command } = message;
    obey(running, id, command).then(
      (result) => {
        if (result) post({ type: 'result', id, value: result.value });
        if (command.do === 'close') port.close();
      },
      (error) => {
        awaited.delete(id);
        post({ type: 'failed', id, error: failure(error) });
      },
    );
  });
  post({ type: 'started', address: running.address });
} catch (error) {
  post({ type: 'not-started', error: failure(error) });
  port.close();
}
