// SPDX-License-Identifier: Apache-2.0
/** $VISUAL or $EDITOR, as crontab and git have it: a command line that a file is given to. */
import { spawn } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Environment = Readonly<Record<string, string | undefined>>;

/** Of what comes back. */
const BYTES_MAX = 16 << 20;

/**
 * Gives what the operator made of the text; undefined: nothing was changed. Others on the machine can't read it. Fails when
 * the editor can't be started, or says that it has failed.
 */
export async function edited(text: string, name: string, env: Environment): Promise<string | undefined> {
  const directory = await mkdtemp(join(env['TMPDIR'] || tmpdir(), 'marcher-'));
  try {
    await chmod(directory, 0o700);
    const file = join(directory, `${name.replace(/[^\w.-]/g, '_').slice(0, 80)}.yaml`);
    await writeFile(file, text, { mode: 0o600 });
    await run(env['VISUAL'] || env['EDITOR'] || 'vi', file, env);
    const { size } = await stat(file);
    if (size > BYTES_MAX)
      throw new Error(`what was edited is larger than ${BYTES_MAX >> 20} MiB, the most that is read`);
    const after = await readFile(file, 'utf8');
    return after === text ? undefined : after;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function run(command: string, file: string, env: Environment): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    // The command may have words of its own ("code --wait"), so that a shell takes it apart; the file is never a part of it.
    const child = spawn('/bin/sh', ['-c', `${command} "$1"`, 'sh', file], { stdio: 'inherit', env: { ...env } });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else {
        const how = signal === null ? `ended with ${code}` : `was ended by ${signal}`;
        reject(new Error(`the editor "${command}" ${how}: set EDITOR to one that is there; nothing was changed`));
      }
    });
  });
}
