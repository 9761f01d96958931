// SPDX-License-Identifier: Apache-2.0
/** Messages of the model as text of the file form; parseConfiguration reads back the same messages. */
import type { Configuration } from '@marcher/proto/marcher/v1/model_pb';
import { stringify } from 'yaml';
import { API_VERSION } from './file-shape.js';
import { compact } from './file-value.js';
import { guardToFile } from './guard-form.js';
import { serviceToFile } from './to-file.js';
import { trafficPolicyToFile } from './traffic-policy-form.js';

/** Lists that are empty are left out, but one is always there. */
export function printConfiguration(configuration: Configuration, format: 'yaml' | 'json' = 'yaml'): string {
  const { services, guards, trafficPolicies } = configuration;
  const others = guards.length + trafficPolicies.length > 0;
  const file = compact({
    apiVersion: API_VERSION,
    services: services.length === 0 && others ? undefined : services.map(serviceToFile),
    guards: guards.length === 0 ? undefined : guards.map(guardToFile),
    trafficPolicies: trafficPolicies.length === 0 ? undefined : trafficPolicies.map(trafficPolicyToFile),
  });
  if (format === 'json') return `${JSON.stringify(file, null, 2)}\n`;
  // Equal values are written out each time: anchors that nobody asked for only puzzle.
  return stringify(file, { aliasDuplicateObjects: false, lineWidth: 120 });
}
