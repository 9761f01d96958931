// SPDX-License-Identifier: Apache-2.0
/** What every adapter of the data plane port must do. Each test gets one with nothing applied. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BackendStateSchema } from '@marcher/proto/marcher/engine/v1/control_pb';
import {
  Algorithm,
  BackendSchema,
  type Snapshot,
  SnapshotSchema,
  Transport,
} from '@marcher/proto/marcher/engine/v1/snapshot_pb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Dataplane, DataplaneError } from '../../../ports/dataplane.js';

export interface Harness {
  readonly dataplane: Dataplane;
  /** Free ports on loopback. */
  readonly ports: readonly [number, number];
  dispose(): Promise<void>;
}

export function snapshot(
  generation: bigint,
  base: bigint,
  services: Record<string, number>,
  removed: string[] = [],
): Snapshot {
  return create(SnapshotSchema, {
    generation,
    baseGeneration: base,
    removedServices: removed,
    ...(base === 0n ? { node: { name: 'node' } } : {}),
    services: Object.entries(services).map(([name, port]) => ({
      name,
      algorithm: Algorithm.ROUND_ROBIN,
      connectTimeoutMs: 1000,
      idleTimeoutMs: 60_000,
      halfClosedTimeoutMs: 5000,
      drainTimeoutMs: 1000,
      sourceIpv4Prefix: 32,
      sourceIpv6Prefix: 64,
      listeners: [
        {
          transport: Transport.TCP,
          address: new Uint8Array([127, 0, 0, 1]),
          portFirst: port,
          portLast: port,
          backlog: 128,
        },
      ],
    })),
  });
}

const strict = { tolerateBindErrors: false };

export function dataplaneCompliance(name: string, make: () => Promise<Harness>): void {
  describe(`${name}: the data plane's contract`, () => {
    let harness: Harness;
    let dataplane: Dataplane;

    beforeEach(async () => {
      harness = await make();
      dataplane = harness.dataplane;
    });
    afterEach(async () => harness.dispose());

    it('starts with generation 0 and an engine that runs', () => {
      expect(dataplane.status()).toMatchObject({
        running: true,
        generation: 0n,
        savedGeneration: 0n,
        restarts: 0,
        lastError: '',
      });
      expect(dataplane.status().pid).toBeGreaterThan(0);
    });

    it('applies a complete snapshot, as a message or as bytes', async () => {
      const first = snapshot(1n, 0n, { web: harness.ports[0] });
      expect(await dataplane.apply(first, strict)).toMatchObject({ accepted: true, generation: 1n, reasons: [] });
      const second = toBinary(SnapshotSchema, snapshot(2n, 0n, { web: harness.ports[0] }));
      expect(await dataplane.apply(second, strict)).toMatchObject({ accepted: true, generation: 2n });
      expect(dataplane.status()).toMatchObject({ generation: 2n, savedGeneration: 2n });
    });

    it('applies a change to what runs', async () => {
      await dataplane.apply(snapshot(1n, 0n, { web: harness.ports[0] }), strict);
      const reply = await dataplane.apply(snapshot(2n, 1n, { api: harness.ports[1] }, ['web']), strict);
      expect(reply).toMatchObject({ accepted: true, generation: 2n });
    });

    it('refuses a generation that does not rise, and a change to another generation, with a reason', async () => {
      await dataplane.apply(snapshot(5n, 0n, { web: harness.ports[0] }), strict);
      for (const wrong of [snapshot(5n, 0n, {}), snapshot(7n, 4n, {})]) {
        const reply = await dataplane.apply(wrong, strict);
        expect(reply).toMatchObject({ accepted: false, generation: 5n });
        expect(reply.reasons.length).toBeGreaterThan(0);
      }
      expect(dataplane.status().generation).toBe(5n);
    });

    it('throws on what is no snapshot', async () => {
      await expect(dataplane.apply(new Uint8Array([0xff, 0xff]), strict)).rejects.toMatchObject({ code: 'invalid' });
      await expect(dataplane.apply(create(SnapshotSchema), strict)).rejects.toBeInstanceOf(DataplaneError);
    });

    it('answers calls in the order in which they were made', async () => {
      const replies = await Promise.all(
        [1n, 2n, 3n, 4n].map((generation) =>
          dataplane.apply(snapshot(generation, generation - 1n, { web: harness.ports[0] }), strict),
        ),
      );
      expect(replies.map(({ accepted, generation }) => [accepted, generation])).toEqual([
        [true, 1n],
        [true, 2n],
        [true, 3n],
        [true, 4n],
      ]);
    });

    it('has no connections, statistics or names where there was no traffic', async () => {
      expect((await dataplane.connections('', 10)).connections).toEqual([]);
      expect([...dataplane.stats({ activeOnly: true })]).toEqual([]);
      expect(dataplane.slotName(0)).toBeUndefined();
      expect(dataplane.events(16).dropped).toBe(0n);
    });

    it('gives backends decoded or not', async () => {
      const configured = snapshot(1n, 0n, { web: harness.ports[0] });
      for (const service of configured.services) {
        service.backends = ['a', 'b'].map((backend) =>
          create(BackendSchema, { name: backend, weight: 1, target: { case: 'unixPath', value: '/run/none' } }),
        );
      }
      await dataplane.apply(configured, strict);
      const packed = async () => [...(await dataplane.packedBackends())];
      const states = await dataplane.backends('').catch((error: Error) => error);
      if (states instanceof Error) {
        // The fake engine has none.
        await expect(packed()).rejects.toThrow(states.message);
        return;
      }
      expect(states).toHaveLength(2);
      const found = await packed();
      expect(found.map((one) => fromBinary(BackendStateSchema, one.packed))).toEqual(states);
      expect(found.map(({ service, backend }) => `${service}/${backend}`)).toEqual(['web/a', 'web/b']);
      expect(await packed()).toEqual(found);
    });

    it('upgrades to the same generation', async () => {
      await dataplane.apply(snapshot(1n, 0n, { web: harness.ports[0] }), strict);
      const before = dataplane.status().pid;
      await dataplane.upgrade({ drainMs: 100 });
      expect(dataplane.status()).toMatchObject({ running: true, generation: 1n, restarts: 0 });
      expect(dataplane.status().pid).not.toBe(before);
      expect(await dataplane.apply(snapshot(2n, 1n, {}), strict)).toMatchObject({ accepted: true });
    });

    it('knows the build that is installed', async () => {
      expect(await dataplane.installedBuildId()).toMatch(/^[0-9a-f]{64}$/);
    });

    it('serves nothing after stop', async () => {
      await dataplane.stop(0);
      expect(dataplane.status().running).toBe(false);
      await expect(dataplane.apply(snapshot(1n, 0n, {}), strict)).rejects.toMatchObject({ code: 'no-engine' });
    });

    it('says that it was closed, and closes twice', async () => {
      await dataplane.stop(0);
      await dataplane.close();
      await dataplane.close();
      expect(() => dataplane.status()).toThrow(DataplaneError);
      await expect(dataplane.apply(snapshot(1n, 0n, {}), strict)).rejects.toMatchObject({ code: 'closed' });
    });

    it('finds nothing wrong with its own libraries', () => {
      expect(dataplane.selfCheck()).toMatchObject({ ok: true, forbidden: [] });
    });
  });
}
