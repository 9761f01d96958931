// SPDX-License-Identifier: Apache-2.0
/** A recording in the place of a mesh: it is played, nobody is asked, and nothing can be changed. */
import { type AgentCalls, AgentError, type Ambient, type Reach, type Replay } from '@marcher/client/fleet';
import type { Clock, ConsoleFleet, Player } from './ports.js';

/** What the console shows of a recording. complain: a line of it can't be read. */
export function fleetOf(replay: Replay, speed: () => number): ConsoleFleet {
  return {
    get state() {
      return replay.state;
    },
    subscribe: replay.subscribe,
    watch: replay.watch,
    pause: () => replay.pause(),
    resume: () => replay.play(speed()),
    retry: () => undefined,
  };
}

/** Ages are those of then. */
export function clockOf(replay: Replay, clock: Clock): Clock {
  return { ...clock, nowMs: () => replay.positionMs };
}

/** Errors of what is played are said, and do not end the console. */
export function careful(ambient: Ambient, complain: (text: string) => void): Ambient {
  return {
    ...ambient,
    after: (ms, run) =>
      ambient.after(ms, () => {
        try {
          run();
        } catch (error) {
          complain((error as Error).message);
        }
      }),
  };
}

const SPEED_MIN = 0.1;
const SPEED_MAX = 100;

export function playerOf(replay: Replay): Player & { speedNow(): number } {
  let speed = 1;
  return {
    get startMs() {
      return replay.startMs;
    },
    get endMs() {
      return replay.endMs;
    },
    get positionMs() {
      return replay.positionMs;
    },
    speedNow: () => speed,
    seek: (atMs) => replay.seek(atMs),
    setSpeed(wanted) {
      speed = Math.min(SPEED_MAX, Math.max(SPEED_MIN, wanted));
      if (replay.isPlaying) replay.play(speed);
      return speed;
    },
    isPlaying: () => replay.isPlaying,
  };
}

/** Whatever is asked, it is not in a recording. */
export function nobody(): Reach {
  const answer = (): unknown => {
    const error = new AgentError('unavailable', 'this is not in a recording', [], undefined);
    return {
      // As a promise, but only for who waits for it: nobody else has to take a failure.
      // biome-ignore lint/suspicious/noThenProperty: it is what a call gives
      then: (_done: unknown, failed: (reason: Error) => void) => failed(error),
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error) }),
    };
  };
  const service = new Proxy({}, { get: () => answer });
  const calls = new Proxy({}, { get: () => service }) as AgentCalls;
  return { entry: calls, node: () => calls };
}
