// SPDX-License-Identifier: Apache-2.0
/** Opens the console on a terminal, and gives the terminal back as it was on every way out. */
import { constants } from 'node:os';
import { clearTimeout, setTimeout } from 'node:timers';
import type { Reach } from '@marcher/client/fleet';
import { render } from 'ink';
import { createElement } from 'react';
import { ExitCode } from '../cli/exit-code.js';
import { App, type Suspend } from './components/App.js';
import { Controller } from './controller.js';
import type { Clock, ConsolePorts, FleetSource } from './ports.js';
import { edited } from './terminal/editor.js';
import { Screen } from './terminal/screen.js';
import { createTheme } from './theme/theme.js';

export interface ConsoleOptions {
  readonly fleet: FleetSource;
  readonly reach: Reach;
  /** As the operator named it. */
  readonly target: string;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Default: this machine's. */
  readonly clock?: Clock;
}

/** A frame each 16 ms at most: a key shows within two. */
const FRAMES_PER_SECOND = 60;
const ENDING_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

const systemClock: Clock = {
  nowMs: () => Date.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** Resolves when the operator leaves, or is made to. The fleet is the caller's to start and to close. */
export async function openConsole(options: ConsoleOptions): Promise<ExitCode> {
  const { fleet, reach, target, stdin, stdout, env, clock = systemClock } = options;
  const screen = new Screen(stdout);
  let suspend: Suspend = async () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const ended = new Promise<never>((_, reject) => {
    fail = reject;
  });
  let signalled: (typeof ENDING_SIGNALS)[number] | undefined;
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();

  const outside = async (run: () => Promise<void>): Promise<void> => {
    await suspend(async () => {
      screen.leave();
      try {
        await run();
      } finally {
        screen.enter();
      }
    });
    redraw();
  };
  const ports: ConsolePorts = {
    ...{ fleet, reach, clock, target },
    editor: async (text, name) => {
      let result: string | undefined;
      await outside(async () => {
        result = await edited(text, name, env);
      });
      return result;
    },
    suspend: () =>
      void outside(sleepUntilContinued).catch((error: unknown) => controller.complain((error as Error).message)),
  };
  const controller = new Controller(ports, createTheme(env), screen.size);

  const onReady = (given: Suspend): void => {
    suspend = given;
  };
  screen.enter();
  const app = render(createElement(App, { controller, onReady }), {
    ...{ stdin, stdout: screen as unknown as NodeJS.WriteStream, stderr: process.stderr },
    ...{ interactive: true, exitOnCtrlC: false, patchConsole: false },
    ...{ incrementalRendering: true, maxFps: FRAMES_PER_SECOND },
  });
  /** Ink forgets what it has written, the screen is wiped, and the frame of the size that it has now is written whole. */
  const redraw = (): void => {
    app.clear();
    controller.resize(screen.clear());
    app.rerender(createElement(App, { controller, onReady }));
  };
  controller.onRedraw = redraw;

  // A program that prints to the terminal, Node.js with a warning too, would write over the picture.
  const warned = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('warning', () => undefined);
  const onSignal = (signal: NodeJS.Signals): void => {
    signalled = signal as typeof signalled;
    stop();
  };
  // Whoever was stopped from outside finds a terminal that a shell has used meanwhile.
  const onContinued = (): void => {
    if (stdin.isRaw) {
      stdin.setRawMode(false);
      stdin.setRawMode(true);
    }
    screen.leave();
    screen.enter();
    redraw();
  };
  const leave = (): void => screen.leave();
  stdout.on('resize', redraw);
  stdout.on('error', stop);
  for (const signal of ENDING_SIGNALS) process.on(signal, onSignal);
  process.on('SIGCONT', onContinued);
  process.on('SIGTSTP', ports.suspend);
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
  process.on('exit', leave);
  stdin.on('end', stop);
  controller.start();
  try {
    await Promise.race([controller.done, stopped, ended, app.waitUntilExit()]);
    return signalled === undefined ? ExitCode.ok : signalCode(signalled);
  } finally {
    controller.close();
    // Before Ink takes its tree down: what it writes then goes nowhere.
    screen.leave();
    app.unmount();
    stdout.off('resize', redraw);
    stdout.off('error', stop);
    for (const signal of ENDING_SIGNALS) process.off(signal, onSignal);
    process.off('SIGCONT', onContinued);
    process.off('SIGTSTP', ports.suspend);
    process.off('uncaughtException', fail);
    process.off('unhandledRejection', fail);
    process.off('exit', leave);
    stdin.off('end', stop);
    process.removeAllListeners('warning');
    for (const listener of warned) process.on('warning', listener);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
  }
}

/** As a shell sees it: 128 and the signal's number. */
function signalCode(signal: (typeof ENDING_SIGNALS)[number]): ExitCode {
  return signal === 'SIGINT' ? ExitCode.interrupted : ((128 + constants.signals[signal]) as ExitCode);
}

/** SIGSTOP, as a handler of SIGTSTP has taken that one's effect away. */
async function sleepUntilContinued(): Promise<void> {
  process.kill(process.pid, 'SIGSTOP');
}
