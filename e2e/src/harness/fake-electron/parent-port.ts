// SPDX-License-Identifier: Apache-2.0
/** process.parentPort of a utility process, by the channel of a child process. */
import { EventEmitter } from 'node:events';

const port = Object.assign(new EventEmitter(), {
  postMessage: (message: unknown): void => void process.send?.(message),
});
process.on('message', (data) => port.emit('message', { data, ports: [] }));
Object.defineProperty(process, 'parentPort', { value: port });
