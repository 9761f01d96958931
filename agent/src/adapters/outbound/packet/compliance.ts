// SPDX-License-Identifier: Apache-2.0
/** What every adapter of the packet tier port must do. Each test gets one that was not opened yet and carries nothing. */
import { create, toBinary } from '@bufbuild/protobuf';
import { Forwarding, TableSchema, Transport } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type PacketTier, PacketTierError } from '../../../ports/packet-tier.js';

export interface Harness {
  readonly tier: PacketTier;
  /** Names of the interfaces that it attaches to. */
  readonly interfaces: readonly string[];
  dispose(): Promise<void>;
}

export interface TableService {
  readonly name: string;
  readonly port: number;
  readonly backends?: readonly string[];
  readonly ringSize?: number;
}

export function table(...services: TableService[]): Uint8Array {
  return toBinary(
    TableSchema,
    create(TableSchema, {
      services: services.map(({ name, port, backends = ['a', 'b'], ringSize = 1_009 }) => ({
        name,
        vips: [{ address: Uint8Array.of(192, 0, 2, 1), transport: Transport.TCP, port }],
        forwarding: Forwarding.IPIP,
        ringSize,
        backends: backends.map((backend, i) => ({
          name: backend,
          address: Uint8Array.of(198, 51, 100, i + 1),
          weight: 1,
          usable: true,
        })),
      })),
    }),
  );
}

export function packetTierCompliance(name: string, make: () => Promise<Harness>): void {
  describe(`${name}: the packet tier's contract`, () => {
    let harness: Harness;
    let tier: PacketTier;

    beforeEach(async () => {
      harness = await make();
      tier = harness.tier;
    });
    afterEach(async () => harness.dispose());

    it('is not available before it was opened, and says so', async () => {
      expect(tier.state).toMatchObject({ kind: 'unavailable', retry: true });
      await expect(tier.apply(table())).rejects.toMatchObject({ code: 'not-open' });
      expect(() => tier.status()).toThrow(PacketTierError);
    });

    it('is open once, however often it is opened', async () => {
      expect(await tier.open()).toEqual({ kind: 'open' });
      expect(await tier.open()).toEqual({ kind: 'open' });
      expect(tier.state).toEqual({ kind: 'open' });
    });

    it('says where it is attached', async () => {
      await tier.open();
      const { interfaces, layoutVersion } = tier.status();
      expect(interfaces.map(({ name }) => name)).toEqual(harness.interfaces);
      for (const { mode, index } of interfaces) {
        expect(['native', 'generic']).toContain(mode);
        expect(index).toBeGreaterThan(0);
      }
      expect(layoutVersion).toBeGreaterThan(0);
    });

    it('carries what is in the table, and what is no longer in it not', async () => {
      await tier.open();
      expect(await tier.apply(table({ name: 'web', port: 80 }, { name: 'dns', port: 53 }))).toMatchObject({
        accepted: true,
        reasons: [],
        services: 2,
        backends: 4,
      });
      const names = () => tier.status().services.map(({ name }) => name);
      expect(names().sort()).toEqual(['dns', 'web']);
      expect((await tier.apply(table({ name: 'web', port: 80, backends: ['a', 'c', 'd'] }))).backends).toBe(3);
      expect(names()).toEqual(['web']);
      const [web] = tier.status().services;
      expect(web?.traffic?.packets ?? 0n).toBe(0n);
      expect(web?.backends.map(({ name }) => name).sort()).toEqual(['a', 'c', 'd']);
      await tier.apply(table());
      expect(names()).toEqual([]);
    });

    it('takes the same table again', async () => {
      await tier.open();
      const same = table({ name: 'web', port: 80 });
      expect((await tier.apply(same)).accepted).toBe(true);
      expect((await tier.apply(same)).accepted).toBe(true);
    });

    it('refuses a table with every reason, and goes on with the one before', async () => {
      await tier.open();
      await tier.apply(table({ name: 'before', port: 80 }));
      const reply = await tier.apply(
        table({ name: 'web', port: 80, ringSize: 1_000 }, { name: 'api', port: 81 }, { name: 'twin', port: 81 }),
      );
      expect(reply.accepted).toBe(false);
      expect(reply.reasons.map(({ service }) => service).sort()).toEqual(['twin', 'web']);
      for (const { path, reason } of reply.reasons) {
        expect(path).toMatch(/^services\[\d\]\.\w+/);
        expect(reason).not.toBe('');
      }
      expect(tier.status().services.map(({ name }) => name)).toEqual(['before']);
    });

    it('is tended while it is open, and what is in force stays', async () => {
      await tier.open();
      await tier.apply(table({ name: 'web', port: 80 }));
      await tier.tend();
      expect(tier.status().services.map(({ name }) => name)).toEqual(['web']);
      await tier.close();
      await expect(tier.tend()).rejects.toMatchObject({ code: 'not-open' });
    });

    it('throws on what is no table', async () => {
      await tier.open();
      await expect(tier.apply(Uint8Array.of(0xff, 0xff))).rejects.toMatchObject({ code: 'invalid' });
    });

    it('answers calls in the order in which they were made', async () => {
      await tier.open();
      const sizes = [3, 1, 2];
      const tables = sizes.map((n) => table(...Array.from({ length: n }, (_, i) => ({ name: `s${i}`, port: i + 1 }))));
      const replies = await Promise.all(tables.map((one) => tier.apply(one)));
      expect(replies.map(({ services }) => services)).toEqual(sizes);
      expect(tier.status().services).toHaveLength(2);
    });

    it('is closed once, and does nothing afterwards', async () => {
      await tier.open();
      await tier.close();
      await tier.close();
      expect(tier.state.kind).not.toBe('open');
      expect((await tier.open()).kind).not.toBe('open');
      await expect(tier.apply(table())).rejects.toMatchObject({ code: 'not-open' });
      expect(() => tier.status()).toThrow(PacketTierError);
    });
  });
}
