// SPDX-License-Identifier: Apache-2.0
/** Every example of the configuration reference is what the agent takes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { KINDS, LIST_OF, objectsOf, parseConfiguration } from '@marcher/model';
import { ChangeSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { expect, test } from 'vitest';
import { ConfigurationIndex } from './application/change-preparation.js';
import type { ConfigStore } from './ports/config-store.js';

const REFERENCE = readFileSync(join(import.meta.dirname, '../../docs/configuration.md'), 'utf8');
const LISTS = KINDS.map((kind) => LIST_OF[kind]);
const NOTHING = { scan: () => [], get: () => undefined, object: () => undefined, objects: () => [] };

/** A block is a document, lists of one, items of services, or fields of a service. */
function documentOf(block: string): string {
  if (/^(?:apiVersion:|\{)/m.test(block)) return block;
  const has = (field: string): boolean => new RegExp(`^${field}:`, 'm').test(block);
  if (LISTS.some(has)) return `apiVersion: marcher/v1\n${block}`;
  if (block.startsWith('-')) return `apiVersion: marcher/v1\nservices:\n${block}`;
  const fields = `name: example\n${has('listeners') ? '' : 'listeners: [{ port: 80 }]\n'}${block}`;
  return `apiVersion: marcher/v1\nservices:\n  -\n${fields.replace(/^/gm, '    ')}`;
}

const blocks = [...REFERENCE.matchAll(/^```(yaml|json)\n(.*?)^```/gms)].map(([, , text = '']) => text);

test('there are examples, of every kind', () => {
  expect(blocks.length).toBeGreaterThan(10);
  for (const list of LISTS) expect(blocks.some((block) => block.includes(`${list}:`))).toBe(true);
});

test.each(blocks.map((block) => [block.split('\n').slice(0, 3).join(' '), block]))('%s', (_head, block) => {
  const parsed = parseConfiguration(documentOf(block));
  expect(parsed.violations).toBeUndefined();
  const { configuration } = parsed;
  if (configuration === undefined) return;
  const change = create(ChangeSchema);
  change.upsert = configuration.services;
  change.upsertObjects = objectsOf(configuration);
  const prepared = new ConfigurationIndex(NOTHING as Partial<ConfigStore> as ConfigStore).prepare(change);
  expect('violations' in prepared ? prepared.violations : []).toEqual([]);
});
