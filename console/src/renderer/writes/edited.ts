// SPDX-License-Identifier: Apache-2.0
import type { Object$, Service } from '@marcher/proto/marcher/v1/model_pb';

/** What an editor is opened for. declared: undefined where it is a new one. */
export type Edited =
  | { readonly kind: 'Service'; readonly declared: Service | undefined }
  | { readonly kind: 'TrafficPolicy' | 'Guard'; readonly declared: Object$ | undefined };

export function nameOf(edited: Edited): string | undefined {
  return edited.kind === 'Service' ? edited.declared?.name : edited.declared?.object.value?.name;
}
