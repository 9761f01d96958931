// SPDX-License-Identifier: Apache-2.0
/** Opens the console on a terminal, and gives the terminal back as it was on every way out. */
import { constants } from 'node:os';
import { clearTimeout, setTimeout } from 'node:timers';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Reach } from '@marcher/client/fleet';
import { type Instance, render } from 'ink';
import { createElement } from 'react';
import { ExitCode } from '../cli/exit-code.js';
import { App, type Suspend } from './components/App.js';
import { Controller } from './controller.js';
import type { Clock, ConsoleFleet, ConsolePorts, ConsoleSession, Player } from './ports.js';
import { edited } from './terminal/editor.js';
import { type EndingSignal, guard } from './terminal/guard.js';
import { Screen } from './terminal/screen.js';
import { createTheme } from './theme/theme.js';
import { timeOfDay } from './theme/time.js';

export interface ConsoleOptions {
  readonly fleet: ConsoleFleet;
  readonly reach: Reach;
  /** As the operator named it. */
  readonly target: string;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Default: this machine's. */
  readonly clock?: Clock;
  /** In the header: of a recording that is made. */
  readonly banner?: () => string;
  /** A recording is shown, which nothing can be changed of. */
  readonly player?: Player;
  /** That it is let in by; absent: it is by something else. */
  readonly session?: ConsoleSession;
  /** Given what says something to the operator from outside. */
  readonly onOpen?: (say: (text: string) => void) => void;
}

/** A frame each 8 ms at most: a key waits no longer than that for the frame of a state that came just before it. */
const FRAMES_PER_SECOND = 120;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  steadyMs: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** Resolves when the operator leaves, or is made to. The fleet is the caller's to start and to close. */
export async function openConsole(options: ConsoleOptions): Promise<ExitCode> {
  const { fleet, reach, target, stdin, stdout, env, clock = systemClock } = options;
  const screen = new Screen(stdout, () => redraw());
  const { promise: ended, resolve: end, reject: fail } = Promise.withResolvers<EndingSignal | undefined>();
  let app: Instance | undefined;
  let suspend: Suspend = async () => undefined;
  const onReady = (given: Suspend): void => {
    suspend = given;
  };

  /** Ink forgets what it has written, the screen is wiped, and the frame of the size that it has now is written whole. */
  const redraw = (): void => {
    app?.clear();
    controller.resize(screen.clear());
    app?.rerender(createElement(App, { controller, codes: screen.codes, onReady }));
  };
  /** Another program has the terminal meanwhile. */
  const outside = async (run: () => Promise<void>): Promise<void> => {
    await suspend(async () => {
      screen.leave(true);
      // Ink listens no more, but Node.js would still read: what is typed is for the other program alone.
      await nextTurn();
      stdin.pause();
      await nextTurn();
      try {
        await run();
      } finally {
        screen.enter();
      }
    });
    redraw();
  };
  const stop = (): void => {
    // SIGSTOP, as there is a handler of SIGTSTP. From here on the process goes on when a shell says so.
    outside(async () => void process.kill(process.pid, 'SIGSTOP')).catch(fail);
  };
  const ports: ConsolePorts = {
    ...{ fleet, reach, clock, target, suspend: stop },
    ...(options.banner === undefined ? {} : { banner: options.banner }),
    ...(options.session === undefined ? {} : { session: options.session }),
    ...(options.player === undefined ? {} : ofRecording(options.player)),
    editor: async (text, name) => {
      let result: string | undefined;
      await outside(async () => {
        result = await edited(text, name, env);
      });
      return result;
    },
  };
  const controller = new Controller(ports, createTheme(env), screen.size);
  const release = guard({
    ...{ stdin, stdout, end, fail, stop, resize: redraw, exit: () => screen.leave() },
    goOn() {
      // Whoever was stopped by SIGSTOP finds a terminal that a shell has used meanwhile.
      if (stdin.isRaw) {
        stdin.setRawMode(false);
        stdin.setRawMode(true);
      }
      screen.leave();
      screen.enter();
      redraw();
    },
  });
  // Before anything is drawn: a key that is pressed now is one of the console, and Ctrl-Z is not the terminal's.
  if (stdin.isTTY) stdin.setRawMode(true);
  screen.enter();
  try {
    app = render(createElement(App, { controller, codes: screen.codes, onReady }), {
      ...{ stdin, stdout: screen as unknown as NodeJS.WriteStream, stderr: process.stderr },
      ...{ interactive: true, exitOnCtrlC: false, patchConsole: false },
      ...{ incrementalRendering: true, maxFps: FRAMES_PER_SECOND },
    });
    controller.onRedraw = redraw;
    controller.start();
    options.onOpen?.((text) => controller.complain(text));
    controller.done.then(() => end(undefined));
    // It settles before only where a component has failed.
    app.waitUntilExit().catch(fail);
    const signal = await ended;
    return signal === undefined ? ExitCode.ok : signalCode(signal);
  } finally {
    controller.close();
    // Before Ink takes its tree down: what it writes then goes nowhere.
    screen.leave();
    app?.unmount();
    release();
    screen.close();
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
  }
}

function ofRecording(player: Player): Pick<ConsolePorts, 'player' | 'banner' | 'readOnly'> {
  return {
    player,
    banner: () => `RECORDED ${timeOfDay(player.positionMs)} of ${timeOfDay(player.endMs)}`,
    readOnly: 'This is a recording: nothing can be changed of it.',
  };
}

/** As a shell sees it: 128 and the signal's number. */
function signalCode(signal: EndingSignal): ExitCode {
  return signal === 'SIGINT' ? ExitCode.interrupted : ((128 + constants.signals[signal]) as ExitCode);
}
