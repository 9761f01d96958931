// SPDX-License-Identifier: Apache-2.0
/** Whether a machine can be a node, of what it has said. Pure. */
import type { MachineFacts } from './facts.js';
import type { Privilege } from './machine.js';

export interface Finding {
  /** stop: it can't be. warn: it can, and somebody should know. */
  readonly severity: 'stop' | 'warn';
  /** What is so, and what to do. */
  readonly text: string;
}

export interface Needs {
  /** uname -m of machines that there is an archive for. */
  readonly architectures: readonly string[];
  /** In MiB, unpacked and packed. */
  readonly diskMiB: number;
  /** What the archive's programs are linked with. */
  readonly glibc: string;
  /** As a service of systemd; otherwise as a process of whoever logs in. */
  readonly service: boolean;
}

const MEMORY_MIB = 256;
/** io_uring, sk_lookup and the packet tiers' programs: docs/operating.md. */
const KERNEL = '5.10';

export function privilegeOf({ uid, maySudo }: MachineFacts): Privilege {
  return uid === 0 ? 'root' : maySudo ? 'sudo' : 'none';
}

export function judgeMachine(facts: MachineFacts, needs: Needs): readonly Finding[] {
  const findings: Finding[] = [];
  const stop = (text: string): void => void findings.push({ severity: 'stop', text });
  const warn = (text: string): void => void findings.push({ severity: 'warn', text });
  if (facts.system !== 'Linux') stop(`it runs ${facts.system}: a node needs Linux`);
  if (!needs.architectures.includes(facts.architecture)) {
    const known = needs.architectures.join(', ') || 'none: npm run archive makes one';
    stop(`it is ${facts.architecture}, and there is no installation for that here (there is: ${known})`);
  }
  if (facts.glibc === '') stop('its C library is not glibc: the installation is built for Debian and the like');
  else if (isOlder(facts.glibc, needs.glibc)) {
    stop(`its glibc is ${facts.glibc}, and ${needs.glibc} or newer is needed: Debian 12 has it`);
  }
  if (isOlder(facts.kernel, KERNEL)) stop(`its kernel is ${facts.kernel}, and ${KERNEL} or newer is needed`);
  if (facts.lacks.length > 0) stop(`it has no ${facts.lacks.join(', ')}: install what has them`);
  if (needs.service) {
    if (!facts.hasSystemd) stop('it does not run systemd: install and start the agent by hand (docs/operating.md)');
    if (privilegeOf(facts) === 'none') {
      stop('who logs in there is not root and may not use sudo without a password: log in as root, or allow that');
    }
  }
  for (const path of facts.there) stop(`${path} is there already: a node is, or was, on it. Remove that first`);
  if (facts.runs) stop('an engine of Marcher runs there already');
  for (const port of facts.takenPorts) stop(`${port} is in use there: choose another port, or end what has it`);
  const freeMiB = Math.floor(facts.freeBytes / 2 ** 20);
  if (freeMiB < needs.diskMiB) stop(`${freeMiB} MiB of disk are free there, and ${needs.diskMiB} are needed`);
  const memoryMiB = Math.floor(facts.memoryBytes / 2 ** 20);
  if (memoryMiB < MEMORY_MIB) warn(`it has ${memoryMiB} MiB of memory: ${MEMORY_MIB} or more are well`);
  return findings;
}

/** By numbers, as far as both have them: "6.1.0-13-amd64" is 6.1.0. */
function isOlder(version: string, than: string): boolean {
  const numbers = (text: string): number[] => (/^\d+(?:\.\d+)*/.exec(text)?.[0] ?? '0').split('.').map(Number);
  const [one, other] = [numbers(version), numbers(than)];
  for (const [index, wanted] of other.entries()) {
    const has = one[index] ?? 0;
    if (has !== wanted) return has < wanted;
  }
  return false;
}
