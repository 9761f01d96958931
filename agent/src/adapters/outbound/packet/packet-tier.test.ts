// SPDX-License-Identifier: Apache-2.0
/**
 * The adapter with the library inside Node. What attaches programs runs in a network and mount namespace of its own, in
 * a second vitest that the first starts: it needs root, a kernel with BPF, and a libmarcher with the packet tiers.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { libraryPath } from '../dataplane/library.js';
import { PacketLibrary } from './binding.js';
import { packetTierCompliance, table } from './compliance.js';
import { LibmarcherPacketTier, type PacketTierOptions } from './packet-tier.js';
import { uninstallDataplane } from './uninstall.js';

const library = libraryPath();
if (!existsSync(library)) throw new Error(`${library} is not built: run scripts/setup test`);

/** Set in the second vitest: the bpffs that was mounted for it. */
const bpffs = process.env['MARCHER_TEST_BPFFS'];

function tierOf(options: Partial<PacketTierOptions> = {}): LibmarcherPacketTier {
  return new LibmarcherPacketTier({
    interfaces: ['lo'],
    pinDir: '/nonexistent/marcher',
    xdpMode: 'auto',
    libraryPath: library,
    flows: 1_024,
    ...options,
  });
}

/** What the tests in namespaces need and this machine has not; undefined: nothing. */
function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  const scratch = mkdtempSync(join(tmpdir(), 'marcher-bpffs-'));
  try {
    const probe = `mount -t bpf bpf ${scratch} && ip link add v0 type veth peer name v1`;
    return spawnSync('unshare', ['--net', '--mount', 'sh', '-c', probe]).status === 0 ? undefined : 'bpffs and veth';
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function outside(): void {
  describe('a tier that can not be had', () => {
    it('is off without an interface, and says how it would be on', async () => {
      const tier = tierOf({ interfaces: [] });
      expect(await tier.open()).toEqual({ kind: 'off', reason: expect.stringMatching(/--interfaces/) });
      await expect(tier.apply(table())).rejects.toMatchObject({ code: 'not-open' });
    });

    it('says that programs of an earlier agent still forward', () => {
      const pinDir = mkdtempSync(join(tmpdir(), 'marcher-pins-'));
      try {
        expect(tierOf({ interfaces: [], pinDir }).state).toMatchObject({ reason: expect.stringContaining(pinDir) });
      } finally {
        rmSync(pinDir, { recursive: true });
      }
    });

    it('is unavailable with the reason of whoever refuses', async () => {
      const missing = await tierOf({ libraryPath: '/nonexistent/libmarcher.so' }).open();
      expect(missing).toMatchObject({ kind: 'unavailable', retry: false });
      expect(missing).toHaveProperty('reason', expect.stringContaining('/nonexistent/libmarcher.so'));
      const other = await tierOf({ libraryPath: 'libc.so.6' }).open();
      expect(other).toMatchObject({ kind: 'unavailable', retry: false });
      expect(other).toHaveProperty('reason', expect.stringContaining('without the packet tiers'));
      const refused = await tierOf().open();
      expect(refused).toMatchObject({ kind: 'unavailable', retry: true });
      expect(refused).toHaveProperty('reason', expect.stringMatching(/\/nonexistent|CAP_/));
    });
  });

  describe('with libmarcher', () => {
    it('finds every function that the header has', () => {
      expect(() => new PacketLibrary(library)).not.toThrow();
    });

    const lacking = missing();
    it.skipIf(lacking !== undefined)(
      `passes in namespaces of its own${lacking ? ` (needs ${lacking})` : ''}`,
      () => {
        const scratch = mkdtempSync(join(tmpdir(), 'marcher-bpffs-'));
        const self = fileURLToPath(import.meta.url);
        const root = fileURLToPath(new URL('../../../../..', import.meta.url));
        const vitest = join(root, 'node_modules/vitest/vitest.mjs');
        const script = `mount -t bpf bpf "$MARCHER_TEST_BPFFS" && ip link set lo up && exec "$@"`;
        try {
          const { status, stdout, stderr } = spawnSync(
            'unshare',
            ['--net', '--mount', 'sh', '-c', script, 'sh', process.execPath, vitest, 'run', '--root', root, self],
            { env: { ...process.env, MARCHER_TEST_BPFFS: scratch }, encoding: 'utf8', timeout: 60_000 },
          );
          expect(status, `${stdout}\n${stderr}`).toBe(0);
        } finally {
          rmSync(scratch, { recursive: true });
        }
      },
      70_000,
    );
  });
}

function inside(bpffs: string): void {
  describe('in namespaces of its own', () => {
    let made = 0;
    const ip = (...args: string[]) => execFileSync('ip', args);

    function link(): string {
      const name = `mpt${made++}`;
      ip('link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}p`);
      ip('link', 'set', name, 'up');
      ip('link', 'set', `${name}p`, 'up');
      return name;
    }

    function pinned(): string {
      return join(bpffs, `marcher${made++}`);
    }

    packetTierCompliance('libmarcher', async () => {
      const name = link();
      const tier = tierOf({ interfaces: [name], pinDir: pinned() });
      return {
        tier,
        interfaces: [name],
        dispose: async () => {
          await tier.close();
          ip('link', 'del', name);
        },
      };
    });

    it('what was applied stays, and the next one adopts it', async () => {
      const name = link();
      const options = { interfaces: [name], pinDir: pinned() };
      const first = tierOf(options);
      await first.open();
      await first.apply(table({ name: 'web', port: 80 }));
      const second = tierOf(options);
      expect(await second.open()).toMatchObject({ kind: 'unavailable', retry: true });
      await first.close();
      expect(await second.open()).toEqual({ kind: 'open' });
      const status = second.status();
      expect(status.adopted).toBe(true);
      expect(status.services.map(({ name }) => name)).toEqual(['web']);
      await second.close();
    });

    it('was tried on real packets before', async () => {
      const tier = tierOf({ interfaces: [link()], pinDir: pinned() });
      expect(tier.proof.xdp.text).toBe('');
      await tier.open();
      const { xdp, tc } = tier.proof;
      expect([...xdp.lost, ...tc.lost]).toEqual([]);
      expect(xdp.text).toBe(
        'real packets passed by ipip, gue, l2, decap, nat-fast, guard over IPv4 and IPv6 (native and generic)',
      );
      expect(tc.text).toMatch(/^real packets passed by nat over IPv4 and IPv6 \((tcx|clsact)\)$/);
      await tier.close();
    });

    it('attaches again to an interface that was made anew, and is lost with the last', async () => {
      const [one, two] = [link(), link()];
      const tier = tierOf({ interfaces: [one, two], pinDir: pinned() });
      await tier.open();
      const modes = () => tier.status().interfaces.map(({ mode }) => mode !== '');
      expect(modes()).toEqual([true, true]);
      ip('link', 'del', two);
      expect(modes()).toEqual([true, false]);
      expect((await tier.open()).kind).toBe('open');
      ip('link', 'add', two, 'type', 'veth', 'peer', 'name', `${two}q`);
      await tier.open();
      expect(modes()).toEqual([true, true]);
      ip('link', 'del', one);
      ip('link', 'del', two);
      expect((await tier.open()).kind).toBe('unavailable');
      await tier.close();
    });

    it('uninstalls what was left, says before what that is, and not under an agent', async () => {
      const name = link();
      const options = { pinDir: pinned(), libraryPath: library };
      const attached = () => ip('-o', 'link', 'show', name).toString().includes('xdp');
      const tier = tierOf({ interfaces: [name], pinDir: options.pinDir });
      await tier.open();
      await tier.apply(table({ name: 'web', port: 80 }));
      for (const dryRun of [true, false]) {
        const outcome = uninstallDataplane({ ...options, dryRun });
        expect(outcome).toMatchObject({ kind: 'busy', text: expect.stringContaining('systemctl stop marcherd') });
      }
      await tier.close();
      const announced = uninstallDataplane({ ...options, dryRun: true });
      expect(announced).toMatchObject({ kind: 'done', text: expect.stringContaining(`xdp of ${name} (`) });
      expect(announced.text).toMatch(/maps\/vips\n/);
      expect(attached()).toBe(true);
      const done = uninstallDataplane({ ...options, dryRun: false });
      expect(done.kind).toBe('done');
      const paths = (text: string) => text.split('\n').filter((line) => line.startsWith('  '));
      expect(paths(done.text)).toEqual(paths(announced.text));
      expect(attached()).toBe(false);
      expect(existsSync(options.pinDir)).toBe(false);
      for (const dryRun of [true, false]) expect(uninstallDataplane({ ...options, dryRun }).kind).toBe('nothing');
    });

    it('names what is missing for uninstalling', () => {
      const script = [
        `import { uninstallDataplane } from ${JSON.stringify(new URL('../../../../dist/adapters/outbound/packet/uninstall.js', import.meta.url).href)};`,
        `console.log(JSON.stringify(uninstallDataplane(${JSON.stringify({ pinDir: pinned(), libraryPath: library, dryRun: false })})));`,
      ].join('\n');
      const args = [
        '--bounding-set',
        '-bpf,-perfmon,-sys_admin',
        process.execPath,
        '--input-type=module',
        '-e',
        script,
      ];
      const { stdout, stderr } = spawnSync('setpriv', args, { encoding: 'utf8' });
      expect(JSON.parse(stdout || JSON.stringify(stderr))).toMatchObject({
        kind: 'failed',
        text: expect.stringContaining('lacks CAP_BPF, CAP_PERFMON'),
      });
    });

    it('names interfaces that the kernel does not forward from', async () => {
      const name = link();
      const tier = tierOf({ interfaces: [name], pinDir: pinned() });
      const obstacles = () => tier.obstacles({ ipv4: true, ipv6: false });
      expect(obstacles()).toEqual([expect.stringContaining(`sysctl -w net/ipv4/conf/${name}/forwarding=1`)]);
      execFileSync('sysctl', ['-q', '-w', `net/ipv4/conf/${name}/forwarding=1`]);
      expect(obstacles()).toEqual([]);
      await tier.close();
    });
  });
}

if (bpffs === undefined) outside();
else inside(bpffs);
