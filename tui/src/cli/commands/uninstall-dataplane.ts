// SPDX-License-Identifier: Apache-2.0
/**
 * Runs `marcherd uninstall-dataplane`: what is in the kernel is libmarcher's, which the agent comes with. No agent is
 * asked, since none may be running.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ExitCode } from '../exit-code.js';
import { Failure } from '../failure.js';
import type { Session } from '../session.js';

export interface UninstallOptions {
  readonly bpfDir?: string;
  readonly library?: string;
  readonly dryRun?: boolean;
}

/** sysexits.h, as marcherd uses it. */
const CODES: Readonly<Record<number, ExitCode>> = { 0: ExitCode.ok, 64: ExitCode.usage };

/** Beside this program in the tree and in /opt/marcher; else where packages put it. */
function marcherd(): string {
  const candidates = [
    fileURLToPath(new URL('../../../../agent/bin/marcherd', import.meta.url)),
    '/opt/marcher/agent/bin/marcherd',
    '/usr/sbin/marcherd',
    '/usr/bin/marcherd',
  ];
  const found = candidates.find((path) => existsSync(path));
  if (found !== undefined) return found;
  const reason = `marcherd, which does this, was found at none of ${candidates.join(', ')}`;
  throw new Failure(ExitCode.error, `${reason}: run marcherd uninstall-dataplane where the agent is installed`);
}

export async function uninstallDataplane(_session: Session, options: UninstallOptions): Promise<ExitCode> {
  const args = ['uninstall-dataplane'];
  if (options.bpfDir !== undefined) args.push(`--bpf-dir=${options.bpfDir}`);
  if (options.library !== undefined) args.push(`--library=${options.library}`);
  if (options.dryRun) args.push('--dry-run');
  const child = spawn(marcherd(), args, { stdio: 'inherit' });
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? -1));
  });
  return CODES[status] ?? ExitCode.error;
}
