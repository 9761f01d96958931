// SPDX-License-Identifier: Apache-2.0
/**
 * Where a write that no agent plans is:
 *
 *   filling ──▶ asking ──▶ doing ──▶ done ──▶ undoing ──▶ undone
 *      ▲           │ ▲       │ with    ▲          │ with
 *      └───────────┘ └───────┘ why     └──────────┘ why
 *
 * What was typed stays until the dialog closes, whatever fails.
 */
import type { Deed, Done } from '@marcher/client/actions';
import type { Failure } from './flow.js';

export type DeedFlow =
  | { readonly step: 'filling'; readonly problem?: Failure }
  | { readonly step: 'asking'; readonly deed: Deed; readonly problem?: Failure }
  | { readonly step: 'doing'; readonly deed: Deed }
  | { readonly step: 'done'; readonly deed: Deed; readonly done: Done; readonly problem?: Failure }
  | { readonly step: 'undoing'; readonly deed: Deed; readonly done: Done }
  | { readonly step: 'undone'; readonly text: string };

export type DeedEvent =
  | { readonly kind: 'made'; readonly deed: Deed }
  | { readonly kind: 'back' }
  | { readonly kind: 'apply' }
  | { readonly kind: 'done'; readonly done: Done }
  | { readonly kind: 'undo' }
  | { readonly kind: 'failed'; readonly problem: Failure };

export function nextDeed(flow: DeedFlow, event: DeedEvent): DeedFlow {
  switch (event.kind) {
    case 'made':
      return flow.step === 'filling' ? { step: 'asking', deed: event.deed } : flow;
    case 'back':
      return flow.step === 'asking' ? { step: 'filling' } : flow;
    case 'apply':
      return flow.step === 'asking' ? { step: 'doing', deed: flow.deed } : flow;
    case 'done':
      if (flow.step === 'undoing') return { step: 'undone', text: event.done.text };
      return flow.step === 'doing' ? { step: 'done', deed: flow.deed, done: event.done } : flow;
    case 'undo':
      return flow.step === 'done' && flow.done.undo !== undefined
        ? { step: 'undoing', deed: flow.deed, done: flow.done }
        : flow;
    case 'failed': {
      const { problem } = event;
      if (flow.step === 'filling') return { step: 'filling', problem };
      if (flow.step === 'doing') return { step: 'asking', deed: flow.deed, problem };
      return flow.step === 'undoing' ? { step: 'done', deed: flow.deed, done: flow.done, problem } : flow;
    }
  }
}
