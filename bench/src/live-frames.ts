// SPDX-License-Identifier: Apache-2.0
/**
 * What a director takes in and sends on when frames really travel, over a veth with a queue for each core. Each core does
 * all of it for its own queue: it makes frames, is the director, and takes back what comes out, since receive loops run
 * where frames are sent. (With a core for each task veth's rings of 256 frames overflow while the other core wakes up,
 * and that is what one would measure.) So the figures have the making and taking back in them: a director that only
 * reflects is measured in the same way, and is what can be had at best.
 */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { type Routed, VIP4 } from '@marcher/e2e/harness/routed';
import { REPOSITORY, type Scope } from '@marcher/e2e/harness/scope';

const XDP = path.join(REPOSITORY, 'bench/xdp/build');
const SECONDS = 3;
const FLOWS = 4_096;

export interface LiveFigures {
  readonly sent: number;
  /** Frames per second that the director took in, in millions: making them and taking them back is in this time. */
  readonly mpps: number;
  /** The same of those that came back. */
  readonly returnedMpps: number;
}

interface Counted {
  readonly sent: number;
  readonly returned: number;
  readonly seconds: number;
}

const addressOf = (netns: string, device: string): string =>
  execFileSync('ip', ['-n', netns, '-br', 'link', 'show', device], { encoding: 'utf8' }).trim().split(/\s+/)[2] ?? '';

/**
 * From the router to a director (1 and on) and back; nothing else gets through there afterwards. The figures of all cores
 * together.
 */
export const liveFrames = async (
  scope: Scope,
  net: Routed,
  director: number,
  source: string,
  port: number,
): Promise<LiveFigures> => {
  const netns = net.directors[director - 1]?.netns ?? '';
  const device = `d${director}`;
  const argv = [path.join(XDP, 'bench-live'), path.join(XDP, 'live.bpf.o'), device, addressOf(netns, 'up0')];
  const what = [source, VIP4, String(port), String(FLOWS), String(SECONDS)];
  const output = await scope.must([...argv, ...what], { netns: net.router });
  const { sent, returned, seconds } = JSON.parse(output) as Counted;
  return { sent, mpps: sent / seconds / 1e6, returnedMpps: returned / seconds / 1e6 };
};

/** Has a director do nothing but send back what comes. */
export const reflect = (net: Routed, director: number): void => {
  const netns = net.directors[director - 1]?.netns ?? '';
  const object = path.join(XDP, 'reflect.bpf.o');
  execFileSync('ip', ['-n', netns, 'link', 'set', 'up0', 'xdpdrv', 'obj', object, 'sec', 'xdp']);
};
