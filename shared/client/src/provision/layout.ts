// SPDX-License-Identifier: Apache-2.0
/** Where things of a node are on a machine, as deploy/marcherd.service and docs/operating.md have them. */

export interface Layout {
  /** What the archive has. */
  readonly tree: string;
  readonly state: string;
  /** Of the engine. */
  readonly run: string;
  readonly socket: string;
  /** Options as variables. */
  readonly settings: string;
  /** The agent reads it to join. */
  readonly token: string;
  readonly unit: string;
  readonly account: string;
  /** The command line, for people on the machine. */
  readonly command: string;
  /** In which the directory is made that everything comes into first. */
  readonly temporary: string;
}

/** prefix: before every path; empty on a real machine, an absolute path where it is to be left alone. Throws TypeError. */
export function layoutUnder(prefix = ''): Layout {
  if (!/^(?:\/[A-Za-z0-9._-]+)*$/.test(prefix) || prefix.split('/').includes('..')) {
    throw new TypeError(`${JSON.stringify(prefix)} is no prefix: expected an absolute path of plain names`);
  }
  const at = (path: string): string => `${prefix}${path}`;
  return {
    tree: at('/opt/marcher'),
    state: at('/var/lib/marcher'),
    run: at('/run/marcher/engine'),
    socket: at('/run/marcher/marcher.sock'),
    settings: at('/etc/default/marcherd'),
    token: at('/etc/marcher/join-token'),
    unit: at('/etc/systemd/system/marcherd.service'),
    account: at('/etc/sysusers.d/marcher.conf'),
    command: at('/usr/local/bin/marcher'),
    temporary: at('/var/tmp'),
  };
}
