// SPDX-License-Identifier: Apache-2.0
/**
 * How far the adding of a node is. Pure: what happens comes in as events, and what does not fit what is so changes nothing.
 *
 *   ready ──begin──▶ running ──all steps done──▶ done ──keep──▶ kept
 *                       └─────a step fails─────▶ failed ─┐
 *                                     done, failed ──undo──▶ undoing ──▶ undone
 *                                                                └─────▶ left (something could not be taken back) ──undo──▶ undoing
 */

export const STEPS = ['send', 'unpack', 'account', 'token', 'settings', 'start', 'join'] as const;
export type StepName = (typeof STEPS)[number];

export const STEP_TITLES: Readonly<Record<StepName, string>> = {
  send: 'Send the installation',
  unpack: 'Unpack it',
  account: 'Make the user it runs as',
  token: 'Make a token to join by',
  settings: 'Write its settings',
  start: 'Start the agent',
  join: 'Wait until it is a member',
};

/** left: what it did is still there, and reason says why. */
export type StepPhase = 'waiting' | 'running' | 'done' | 'failed' | 'undoing' | 'undone' | 'left';

export interface StepState {
  readonly name: StepName;
  readonly phase: StepPhase;
  /** 0 to 1, where it is known how much there is. */
  readonly share?: number;
  /** What was said while it ran, without control characters: the last of it. */
  readonly lines: readonly string[];
  readonly reason?: string;
}

export interface Progress {
  readonly phase: 'ready' | 'running' | 'done' | 'failed' | 'undoing' | 'undone' | 'left' | 'kept';
  readonly steps: readonly StepState[];
}

export type ProgressEvent =
  | { readonly kind: 'begin' | 'undo' | 'undo-ended' | 'keep' }
  | { readonly kind: 'step-begun' | 'step-done' | 'step-undoing' | 'step-undone'; readonly step: StepName }
  | { readonly kind: 'step-share'; readonly step: StepName; readonly share: number }
  | { readonly kind: 'step-said'; readonly step: StepName; readonly line: string }
  | { readonly kind: 'step-failed' | 'step-left'; readonly step: StepName; readonly reason: string };

const LINES_MAX = 50;

export function progressOf(steps: readonly StepName[]): Progress {
  return { phase: 'ready', steps: steps.map((name) => ({ name, phase: 'waiting', lines: [] })) };
}

/** What has to be taken back, in the order in which that is done: the last first. A step that failed may have done a part. */
export function toUndo({ steps }: Progress): readonly StepName[] {
  return steps
    .filter(({ phase }) => phase === 'done' || phase === 'failed' || phase === 'left')
    .map(({ name }) => name)
    .toReversed();
}

export function mayUndo({ phase }: Progress): boolean {
  return phase === 'done' || phase === 'failed' || phase === 'left';
}

export function nextProgress(progress: Progress, event: ProgressEvent): Progress {
  const { phase, steps } = progress;
  switch (event.kind) {
    case 'begin':
      return phase === 'ready' ? { ...progress, phase: 'running' } : progress;
    case 'keep':
      return phase === 'done' ? { ...progress, phase: 'kept' } : progress;
    case 'undo':
      return mayUndo(progress) ? { ...progress, phase: 'undoing' } : progress;
    case 'undo-ended':
      if (phase !== 'undoing') return progress;
      return { ...progress, phase: toUndo(progress).length === 0 ? 'undone' : 'left' };
    case 'step-begun': {
      const next = steps.find((each) => each.phase !== 'done');
      if (phase !== 'running' || next?.name !== event.step || next.phase !== 'waiting') return progress;
      return changed(progress, event.step, { phase: 'running' });
    }
    case 'step-done':
      return phaseOf(progress, event.step) === 'running'
        ? settled(changed(progress, event.step, { phase: 'done' }))
        : progress;
    case 'step-failed':
      if (phaseOf(progress, event.step) !== 'running') return progress;
      return { ...changed(progress, event.step, { phase: 'failed', reason: event.reason }), phase: 'failed' };
    case 'step-undoing':
      return phase === 'undoing' && toUndo(progress).includes(event.step)
        ? changed(progress, event.step, { phase: 'undoing' })
        : progress;
    case 'step-undone':
      return phaseOf(progress, event.step) === 'undoing'
        ? changed(progress, event.step, { phase: 'undone' })
        : progress;
    case 'step-left':
      return phaseOf(progress, event.step) === 'undoing'
        ? changed(progress, event.step, { phase: 'left', reason: event.reason })
        : progress;
    case 'step-share': {
      const share = Math.min(1, Math.max(0, event.share));
      return phaseOf(progress, event.step) === 'running' ? changed(progress, event.step, { share }) : progress;
    }
    case 'step-said': {
      const step = steps.find(({ name }) => name === event.step);
      if (step?.phase !== 'running' && step?.phase !== 'undoing') return progress;
      return changed(progress, event.step, { lines: [...step.lines, event.line].slice(-LINES_MAX) });
    }
  }
}

/** Over when every step is. */
function settled(progress: Progress): Progress {
  const isOver = progress.phase === 'running' && progress.steps.every(({ phase }) => phase === 'done');
  return isOver ? { ...progress, phase: 'done' } : progress;
}

function phaseOf({ steps }: Progress, step: StepName): StepPhase | undefined {
  return steps.find(({ name }) => name === step)?.phase;
}

function changed(progress: Progress, step: StepName, change: Partial<StepState>): Progress {
  const steps = progress.steps.map((each) => (each.name === step ? { ...each, ...change } : each));
  return { ...progress, steps };
}
