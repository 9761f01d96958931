// SPDX-License-Identifier: Apache-2.0
/**
 * Tells systemd how the agent is (sd_notify(3)). Node has no datagram Unix sockets, so systemd's own tool sends the
 * message; the unit therefore has NotifyAccess=all. Not under systemd: nothing happens.
 */
import { execFile } from 'node:child_process';

export interface SystemdNotify {
  ready(status: string): void;
  stopping(): void;
}

export function createSystemdNotify(
  environment: Readonly<Record<string, string | undefined>>,
  onFailure: (reason: string) => void,
): SystemdNotify {
  const send = (...messages: string[]): void => {
    if (environment['NOTIFY_SOCKET'] === undefined) return;
    execFile('systemd-notify', messages, { timeout: 5_000 }, (error) => {
      if (error !== null) onFailure(`systemd-notify failed: ${error.message}`);
    });
  };
  return {
    ready: (status) => send('--ready', `--status=${status}`, `MAINPID=${process.pid}`),
    stopping: () => send('STOPPING=1'),
  };
}
