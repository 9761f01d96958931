// SPDX-License-Identifier: Apache-2.0
/**
 * Where a write is:
 *
 *   planning ──▶ planned ──▶ applying ──▶ applied ──▶ undoing ──▶ undone
 *       │           │            │           ▲            │
 *       └──▶ failed ◀────────────┘           └────────────┘ with why
 *
 * A plan that the configuration has moved away from is made anew; nothing is applied that was not looked at.
 */
import type { Violation } from '@marcher/proto/marcher/v1/config_service_pb';
import type { Applied, Plan } from './write.js';

export interface Failure {
  /** As AgentErrorCode. */
  readonly code: string;
  readonly message: string;
  readonly violations: readonly Violation[];
}

export type Flow =
  | { readonly step: 'planning'; readonly moved?: boolean }
  | { readonly step: 'planned'; readonly plan: Plan; readonly moved: boolean }
  | { readonly step: 'applying'; readonly plan: Plan }
  | { readonly step: 'applied'; readonly applied: Applied; readonly failure?: Failure }
  | { readonly step: 'undoing'; readonly applied: Applied }
  | { readonly step: 'undone'; readonly applied: Applied; readonly version: bigint }
  | { readonly step: 'failed'; readonly failure: Failure };

export type FlowEvent =
  | { readonly kind: 'plan' }
  | { readonly kind: 'planned'; readonly plan: Plan }
  | { readonly kind: 'apply' }
  | { readonly kind: 'applied'; readonly applied: Applied }
  | { readonly kind: 'undo' }
  | { readonly kind: 'undone'; readonly version: bigint }
  | { readonly kind: 'failed'; readonly failure: Failure };

export const FLOW_START: Flow = { step: 'planning' };

export function nextFlow(flow: Flow, event: FlowEvent): Flow {
  switch (event.kind) {
    case 'plan':
      return { step: 'planning' };
    case 'planned':
      return flow.step === 'planning' ? { step: 'planned', plan: event.plan, moved: flow.moved === true } : flow;
    case 'apply':
      return flow.step === 'planned' && isApplicable(flow.plan) ? { step: 'applying', plan: flow.plan } : flow;
    case 'applied':
      return flow.step === 'applying' ? { step: 'applied', applied: event.applied } : flow;
    case 'undo':
      return flow.step === 'applied' ? { step: 'undoing', applied: flow.applied } : flow;
    case 'undone':
      return flow.step === 'undoing' ? { step: 'undone', applied: flow.applied, version: event.version } : flow;
    case 'failed':
      if (flow.step === 'undoing') return { step: 'applied', applied: flow.applied, failure: event.failure };
      if (flow.step === 'applying' && event.failure.code === 'conflict') return { step: 'planning', moved: true };
      return { step: 'failed', failure: event.failure };
  }
}

export function isApplicable({ diffs, violations, moved }: Plan): boolean {
  return diffs.length > 0 && violations.length === 0 && moved.length === 0;
}

export function asFailure(reason: unknown): Failure {
  const { message, code, violations } = reason as Error & { code?: string; violations?: readonly Violation[] };
  return { code: code ?? 'failed', message, violations: violations ?? [] };
}
