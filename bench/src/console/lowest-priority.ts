// SPDX-License-Identifier: Apache-2.0
/**
 * For what a benchmark does in the place of other machines: it takes what those that are measured leave. Where sessions share the
 * processor among themselves (sched(7), autogroup) the nice value of a thread counts within its session alone, and the session has one
 * of its own; elsewhere each thread has one.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';

const ENABLED = '/proc/sys/kernel/sched_autogroup_enabled';
const OWN = '/proc/self/autogroup';

export async function atLowestPriority<T>(run: () => Promise<T>): Promise<T> {
  setNice(constants.priority.PRIORITY_LOW);
  try {
    return await run();
  } finally {
    setNice(constants.priority.PRIORITY_NORMAL);
  }
}

function setNice(nice: number): void {
  if (isOn(ENABLED)) writeFileSync(OWN, String(nice));
  // Who is not root could not take it back.
  else if (process.getuid?.() === 0)
    for (const thread of readdirSync('/proc/self/task')) setPriority(Number(thread), nice);
}

function isOn(file: string): boolean {
  try {
    return readFileSync(file, 'utf8').trim() === '1';
  } catch {
    return false;
  }
}
