// SPDX-License-Identifier: Apache-2.0
/** What use cases tell the audit log, over the real store: with each change, and with each that was taken back. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfiguration } from '@marcher/model';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { InMemoryDataplane } from './adapters/outbound/dataplane/in-memory.js';
import { type OpenedStore, openStore } from './adapters/outbound/sqlite/open-store.js';
import { type Agent, type AgentOptions, createAgent } from './agent.js';
import { Audit } from './application/audit/audit.js';
import type { AuditRecord } from './ports/audit.js';
import { StoreError } from './ports/config-store.js';
import { DataplaneError } from './ports/dataplane.js';
import type { Caller } from './ports/use-cases.js';

const CALLER: Caller = { author: 'ada', origin: 'api', via: 'session', source: '192.0.2.7' };
const QUIET = { info: () => undefined, warn: () => undefined, error: () => undefined };
let directory: string;
let opened: OpenedStore;
let dataplane: InMemoryDataplane;
let audit: Audit;
let agent: Agent;

async function start(options: Partial<AgentOptions> = {}): Promise<void> {
  opened = openStore(directory, 0);
  const hash = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
  audit = new Audit({ log: opened.store.openAudit(), nodeName: 'n', hash, nowMs: Date.now, logger: QUIET });
  agent = createAgent({
    store: opened.store,
    dataplane,
    identity: { name: 'n', region: '', country: '', geoipPath: '' },
    version: 'test',
    log: QUIET,
    reconcileMs: 3_600_000,
    collectMs: 3_600_000,
    audit,
    ...options,
  });
  await agent.start();
}

async function stop(): Promise<void> {
  await agent.stop();
  audit.stop();
  opened.close();
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'marcher-audited-'));
  dataplane = new InMemoryDataplane();
  await start();
});

afterEach(async () => {
  vi.restoreAllMocks();
  await stop().catch(() => undefined);
  rmSync(directory, { recursive: true, force: true });
});

async function apply(names: readonly string[], caller = CALLER): Promise<unknown> {
  const services = names.map((name, i) => {
    return { name, listeners: [{ port: 1_000 + i }], backends: [{ address: '10.0.0.1:80' }] };
  });
  const { configuration } = parseConfiguration(JSON.stringify({ apiVersion: 'marcher/v1', services }));
  const change = { upsert: configuration?.services ?? [], remove: [], replaceAll: true };
  return await agent.config.apply(change, { expectedVersion: 0n, message: 'why', omitDiff: true }, caller);
}

function records(): readonly AuditRecord[] {
  return audit.list({ before: 0, limit: 1_000 }).records.toReversed();
}

const brief = (): string[] =>
  records().map(({ outcome, action, version, objects }) => {
    return `${outcome} ${action.split('/').at(-1)} ${version} ${objects.join()}`;
  });

test('a change, a revert, a file that was read, drains: who, whence, what, which version', async () => {
  await apply(['a', 'b']);
  await apply(['a'], { author: 'file:/etc/marcher', origin: 'file', via: 'file' });
  await agent.config.revert(1n, { expectedVersion: 0n, message: '' }, CALLER);
  await agent.node.drain({ service: 'a', backend: '10.0.0.1:80' }, CALLER);
  await agent.node.undrain({ service: '', backend: '' }, CALLER);
  expect(brief()).toEqual([
    'done Apply 1 Service/a,Service/b',
    'done ApplyFile 2 Service/b',
    'done Revert 3 Service/b',
    'done Drain 0 Backend/a/10.0.0.1:80',
    'done Undrain 0 Node/n',
  ]);
  expect(records()[0]).toMatchObject({ actor: 'ada', via: 'session', source: '192.0.2.7', message: 'why' });
  expect(records()[1]).toMatchObject({ actor: 'file:/etc/marcher', via: 'file' });
  expect(records()[2]).toMatchObject({ message: 'revert to version 1' });
});

test('what changes nothing, or is not valid, is no entry; of a large change fifty names are', async () => {
  await apply(['a']);
  await apply(['a']);
  await expect(apply(['not a name'])).rejects.toThrow('mistake');
  expect(records()).toHaveLength(1);
  await apply(Array.from({ length: 60 }, (_, i) => `s${i}`));
  expect(records()[1]).toMatchObject({ moreObjects: 11 });
  expect(records()[1]?.objects).toHaveLength(50);
});

test('a change that the data plane refused, or did not answer to, is followed by its being taken back', async () => {
  dataplane.refuse = () => 'no room';
  await expect(apply(['a'])).rejects.toThrow('refused');
  dataplane.refuse = () => undefined;
  dataplane.beforeReply = () => {
    throw new DataplaneError('timeout', 'no answer');
  };
  await expect(apply(['a'])).rejects.toThrow('no answer');
  expect(brief()).toEqual([
    'done Apply 1 Service/a',
    'failed Apply 1 Service/a',
    'done Apply 1 Service/a',
    'failed Apply 1 Service/a',
  ]);
  expect(records().map(({ message }) => message)).toEqual([
    'why',
    expect.stringContaining('no room'),
    'why',
    'no answer',
  ]);
});

test('what could not be taken back yet is told when it is', async () => {
  dataplane.refuse = () => 'no room';
  const undo = vi.spyOn(opened.store, 'undo').mockImplementation(() => {
    throw new StoreError('full', 'the disk is full');
  });
  await expect(apply(['a'])).rejects.toThrow('refused');
  expect(records()).toHaveLength(1);
  undo.mockRestore();
  dataplane.refuse = () => undefined;
  await agent.config.reconcile();
  expect(brief().at(-1)).toBe('failed Apply 1 Service/a');
});

test('an agent that was killed before the answer has told already, and tells when it takes the change back', async () => {
  await apply(['a']);
  dataplane.beforeReply = () => new Promise(() => undefined);
  void apply(['b']).catch(() => undefined);
  await vi.waitFor(() => expect(opened.store.pendingVersion).toBe(2n), 10_000);
  opened.close();
  dataplane = new InMemoryDataplane();
  dataplane.refuse = ({ services }) => (services.some(({ name }) => name === 'b') ? 'no room' : undefined);
  await start();
  expect(brief().slice(1)).toEqual(['done Apply 2 Service/b,Service/a', 'failed TakeBack 2 Service/a,Service/b']);
  expect(records()[2]).toMatchObject({ actor: 'marcherd', via: 'agent' });
});

test('what can not be told is not done', async () => {
  vi.spyOn(audit, 'record').mockImplementation(() => {
    throw new StoreError('full', 'the disk is full');
  });
  await expect(apply(['a'])).rejects.toMatchObject({ code: 'unavailable', message: 'the disk is full' });
  await expect(agent.node.drain({ service: '', backend: '' }, CALLER)).rejects.toMatchObject({ code: 'unavailable' });
  expect([opened.store.version, opened.store.count(), agent.node.status().draining]).toEqual([0n, 0, false]);
});

test('a change past the file that owns the configuration is a denied attempt', async () => {
  await stop();
  await start({ owner: '/etc/marcher' });
  await expect(apply(['a'])).rejects.toThrow('comes from /etc/marcher');
  audit.stop();
  expect(records()).toMatchObject([{ outcome: 'denied', actor: 'ada', action: 'marcher.v1.ConfigService/Apply' }]);
});
