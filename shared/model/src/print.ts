// SPDX-License-Identifier: Apache-2.0
/** Messages of the model as text of the file form; parseConfiguration reads back the same messages. */
import type { Configuration } from '@marcher/proto/marcher/v1/model_pb';
import { stringify } from 'yaml';
import { API_VERSION } from './file-shape.js';
import { serviceToFile } from './to-file.js';

export function printConfiguration(configuration: Configuration, format: 'yaml' | 'json' = 'yaml'): string {
  const file = { apiVersion: API_VERSION, services: configuration.services.map(serviceToFile) };
  if (format === 'json') return `${JSON.stringify(file, null, 2)}\n`;
  // Equal values are written out each time: anchors that nobody asked for only puzzle.
  return stringify(file, { aliasDuplicateObjects: false, lineWidth: 120 });
}
