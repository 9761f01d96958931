// SPDX-License-Identifier: Apache-2.0
/** A recording whose disk is full: the console goes on without it, and says so. That it can be read again is shown by ui/replaying.test.ts. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fleet } from '@marcher/client/fleet';
import { simulatedAgents } from '@marcher/client/testing';
import { expect, onTestFinished, test, vi } from 'vitest';
import { recordTo } from './console-recording.js';

const disk = vi.hoisted(() => ({ left: Number.POSITIVE_INFINITY }));

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>();
  const writeSync = (file: number, bytes: Buffer, at = 0): number => {
    if (disk.left <= 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    // As a disk does: what still fits is written.
    const written = real.writeSync(file, bytes, at, Math.min(bytes.length - at, disk.left));
    disk.left -= written;
    return written;
  };
  return { ...real, writeSync };
});

test('a full disk ends the recording, which says so, and nothing else', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'marcher-recording-'));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'a.jsonl');
  const mesh = simulatedAgents({ nodes: 2, moving: 0.5 });
  const fleet = new Fleet({ reach: mesh.reach, ambient: mesh.ambient });
  onTestFinished(() => fleet.close());
  const said: string[] = [];
  const recording = recordTo(path, fleet, (text) => said.push(text));
  fleet.start();
  await mesh.advance(5_000);
  expect(recording.state()).toBe('REC');
  disk.left = 100;
  await mesh.advance(10_000);
  expect(recording.state()).toBe('REC FAILED');
  expect(said).toEqual([`${path} is not written any more: ENOSPC: no space left on device, write`]);
  const kept = readFileSync(path, 'utf8').length;
  const { revision } = fleet.state;
  disk.left = Number.POSITIVE_INFINITY;
  await mesh.advance(10_000);
  expect(fleet.state.revision).toBeGreaterThan(revision);
  expect(readFileSync(path, 'utf8').length).toBe(kept);
  recording.close();
});
