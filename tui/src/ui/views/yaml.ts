// SPDX-License-Identifier: Apache-2.0
/** An object in the form of the file that `marcher apply` takes. */
import { create } from '@bufbuild/protobuf';
import type { ObjectView, ServiceView } from '@marcher/client/fleet';
import { ConfigurationSchema, printConfiguration } from '@marcher/model';
import { type Line, piece } from '../theme/line.js';

type Declared = NonNullable<ServiceView['declared'] | ObjectView['declared']>;

/** Printing a large service takes milliseconds, and pages are drawn at each change of anything. */
const printed = new WeakMap<Declared, string>();

/** undefined: no node has said yet what it declares. */
export function yamlOf(view: ServiceView | ObjectView): string | undefined {
  const { declared } = view;
  if (declared === undefined) return undefined;
  const before = printed.get(declared);
  if (before !== undefined) return before;
  const configuration = create(ConfigurationSchema);
  if (view.kind === 'Service') configuration.services = view.declared === undefined ? [] : [view.declared];
  else {
    const object = view.declared?.object;
    if (object?.case === 'guard') configuration.guards = [object.value];
    if (object?.case === 'trafficPolicy') configuration.trafficPolicies = [object.value];
  }
  const text = printConfiguration(configuration, 'yaml');
  printed.set(declared, text);
  return text;
}

export function yamlLines(text: string): Line[] {
  return text
    .replace(/\n$/, '')
    .split('\n')
    .map((line): Line => {
      const match = /^(\s*(?:- )?)([A-Za-z][\w.-]*:)(.*)$/.exec(line);
      return match === null ? [line] : [match[1] ?? '', piece('accent', match[2] ?? ''), match[3] ?? ''];
    });
}
