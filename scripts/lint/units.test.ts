// SPDX-License-Identifier: Apache-2.0
/** The units of deploy/ as systemd reads them, with the drop-in and without. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const deploy = join(import.meta.dirname, '../../deploy');
const known = spawnSync('systemd-analyze', ['--version']).status === 0;

test.skipIf(!known).each(['without', 'with'])('%s XDP they are valid', (xdp) => {
  const units = mkdtempSync(join(tmpdir(), 'marcher-units-'));
  try {
    // What is not installed here is not what is checked.
    const service = readFileSync(join(deploy, 'marcherd.service'), 'utf8').replace(
      '/opt/marcher/agent/bin/marcherd',
      '/bin/true',
    );
    writeFileSync(join(units, 'marcherd.service'), service);
    copyFileSync(join(deploy, 'run-marcher-bpf.mount'), join(units, 'run-marcher-bpf.mount'));
    if (xdp === 'with') {
      mkdirSync(join(units, 'marcherd.service.d'));
      copyFileSync(join(deploy, 'marcherd-xdp.conf'), join(units, 'marcherd.service.d/xdp.conf'));
    }
    const names = ['marcherd.service', 'run-marcher-bpf.mount'].map((name) => join(units, name));
    const env = { ...process.env, SYSTEMD_UNIT_PATH: `${units}:` };
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...names], {
      env,
      encoding: 'utf8',
    });
    expect(`${stdout}${stderr}`).toBe('');
    expect(status).toBe(0);
  } finally {
    rmSync(units, { recursive: true });
  }
});
