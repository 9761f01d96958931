// SPDX-License-Identifier: Apache-2.0
/** What was typed into an editor as edits of objects: each with what it was when the edit began. */
import { type Edit, nounOf } from '@marcher/client/actions';
import type { FleetState, ObjectView, ServiceView } from '@marcher/client/fleet';
import { formatViolation, kindOf, nameOf, objectsOf, parseConfiguration } from '@marcher/model';

export type Read =
  | { readonly edits: readonly Edit[]; readonly problems?: undefined }
  | { readonly edits?: undefined; readonly problems: readonly string[] };

/** of: what is edited; undefined: something new. No edits: nothing is left in the text, as of one who has thought better of it. */
export function readEdits(text: string, of: ServiceView | ObjectView | undefined, state: FleetState): Read {
  const parsed = parseConfiguration(text, { source: `${of?.name ?? 'new'}.yaml`, format: 'yaml' });
  if (parsed.violations !== undefined) return { problems: parsed.violations.map(formatViolation) };
  const edits: Edit[] = parsed.configuration.services.map((after) => ({
    ...{ kind: 'Service', name: after.name, after },
    before: of?.kind === 'Service' && of.name === after.name ? of.declared : state.services.get(after.name)?.declared,
  }));
  for (const after of objectsOf(parsed.configuration)) {
    const kind = kindOf(after);
    const name = nameOf(after);
    if (kind === undefined) continue;
    const isIt = of?.kind === kind && of.name === name;
    const before = isIt ? of.declared : state.objects.get(`${kind}/${name}`)?.declared;
    edits.push({ kind, name, after, before });
  }
  if (of === undefined) {
    const there = edits.filter(({ before }) => before !== undefined);
    if (there.length === 0) return { edits };
    return {
      problems: there.map((edit) => `there is ${nounOf(edit)} already: give it another name, or edit that one`),
    };
  }
  const isThere = edits.some(({ kind, name }) => kind === of.kind && name === of.name);
  // Under another name it is another object, and this one goes.
  if (edits.length > 0 && !isThere)
    edits.push({ kind: of.kind, name: of.name, before: of.declared, after: undefined } as Edit);
  return { edits };
}
