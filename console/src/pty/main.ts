// SPDX-License-Identifier: Apache-2.0
/** The utility process that has the ptys: machine code, and programs' output, away from the process that has the windows and secrets. */
import type { PtyRequest } from './messages.js';
import { Ptys } from './ptys.js';
import { spawnPty } from './spawn.js';

/** Of Electron's ParentPort. */
interface ParentPort {
  on(event: 'message', listener: (message: { readonly data: unknown }) => void): unknown;
  postMessage(message: unknown): void;
}

const { parentPort } = process as unknown as { readonly parentPort?: ParentPort };
if (parentPort === undefined) throw new Error('this is no program of its own: the console starts it');
const ptys = new Ptys(spawnPty, (reply) => parentPort.postMessage(reply));
parentPort.on('message', ({ data }) => ptys.take(data as PtyRequest));
process.on('exit', () => ptys.close());
