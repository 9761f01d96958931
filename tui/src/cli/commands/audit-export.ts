// SPDX-License-Identifier: Apache-2.0
import { open, rm } from 'node:fs/promises';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';
import { plural } from '../output/quantity.js';
import { printable } from '../output/style.js';
import { type Session, type TargetOptions, unlessInterrupted } from '../session.js';
import { headLine, originLine, recordLine } from './audit-lines.js';

/** The whole log, to standard output or into a new file. */
export async function exportAudit(
  session: Session,
  options: TargetOptions & { readonly file?: string },
): Promise<undefined> {
  const { file } = options;
  if (file === undefined) {
    await writeLog(session, options, (text) => session.write(text));
    return;
  }
  const handle = await open(file, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') throw usage(`--file: "${file}" is there already: name a file that is not`);
    throw new Failure(ExitCode.error, `can't write "${file}": ${error.message}`);
  });
  try {
    const records = await writeLog(session, options, async (text) => void (await handle.write(text)));
    await handle.sync();
    process.stderr.write(`${plural(records, 'record')} in ${printable(file)}\n`);
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  } finally {
    await handle.close();
  }
}

async function writeLog(
  session: Session,
  options: TargetOptions,
  write: (text: string) => Promise<void>,
): Promise<number> {
  const agent = await session.agent(options);
  const signal = session.interrupted;
  let records = 0;
  try {
    for await (const { item } of agent.audit.exportAudit({}, { signal })) {
      if (item.case === 'record') {
        records++;
        await write(recordLine(item.value));
      } else if (item.case === 'origin') await write(originLine(item.value));
      else if (item.case === 'head') await write(headLine(item.value));
    }
  } catch (error) {
    unlessInterrupted(error, signal);
  }
  return records;
}
