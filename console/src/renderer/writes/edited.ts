// SPDX-License-Identifier: Apache-2.0
import type { Object$, Service } from '@marcher/proto/marcher/v1/model_pb';

/** What an editor is opened for. declared: undefined where it is a new one; like: what that begins as. */
export type Edited =
  | { readonly kind: 'Service'; readonly declared: Service | undefined; readonly like?: Service }
  | { readonly kind: 'TrafficPolicy' | 'Guard'; readonly declared: Object$ | undefined; readonly like?: Object$ };

export function nameOf(edited: Edited): string | undefined {
  return edited.kind === 'Service' ? edited.declared?.name : edited.declared?.object.value?.name;
}

const NAME_MAX = 63;

/** Of a copy: a name that nobody else has yet. */
export function nameOfCopy(name: string, taken: (name: string) => boolean = () => false): string {
  for (let at = 1; ; at++) {
    const end = at === 1 ? '-copy' : `-copy-${at}`;
    const copy = `${name.slice(0, NAME_MAX - end.length).replace(/-+$/, '')}${end}`;
    if (!taken(copy)) return copy;
  }
}
