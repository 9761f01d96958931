// SPDX-License-Identifier: Apache-2.0
/**
 * Another machine, as far as one that is added by SSH is that: a namespace of mounts and processes whose root is this machine's with a
 * layer over it, in the network of a node, and OpenSSH's sshd whose sessions are in there. What is installed is in the layer, and gone
 * with it. Its systemd is a script that runs the one unit as the unit says: its user, its settings, its command.
 */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { childrenOf, type Sshd, startSshd } from '@marcher/client/testing/sshd';
import { until } from '../../harness/scope.js';
import type { World } from '../../harness/suite.js';

const SYSTEMCTL = `#!/bin/sh
unit=/etc/systemd/system/marcherd.service pidfile=/run/marcherd.pid
case "$1" in
  enable)
    install -d -m 0700 -o marcher -g marcher /var/lib/marcher
    install -d -m 0755 -o marcher -g marcher /run/marcher
    set -a; . /etc/default/marcherd; set +a
    umask 077; cd /
    setsid setpriv --reuid marcher --regid marcher --init-groups \\
      --inh-caps=+net_bind_service --ambient-caps=+net_bind_service --no-new-privs \\
      $(sed -n 's/^ExecStart=//p' $unit) >> /run/journal 2>&1 < /dev/null 9>&- &
    echo $! > $pidfile
    while [ ! -S /run/marcher/marcher.sock ]; do
      readlink /proc/$(cat $pidfile)/exe > /dev/null || { echo "Job for marcherd.service failed." >&2; exit 1; }
      sleep 0.1
    done ;;
  disable)
    kill "$(cat $pidfile)" 2>/dev/null
    while readlink /proc/$(cat $pidfile)/exe > /dev/null; do sleep 0.1; done ;;
esac
exit 0
`;
const JOURNALCTL = '#!/bin/sh\nexec tail -n 15 /run/journal\n';

export interface OtherMachine {
  readonly sshd: Sshd;
  /** Runs there, as root; what it says. */
  run(script: string): Promise<string>;
  stop(): Promise<void>;
}

export async function startMachine(world: World, netns: string, authorizedKeys: string[]): Promise<OtherMachine> {
  const { scope } = world;
  const at = path.join(scope.dir, 'other');
  mkdirSync(at);
  for (const [name, text] of Object.entries({ systemctl: SYSTEMCTL, journalctl: JOURNALCTL })) {
    writeFileSync(path.join(at, name), text);
    chmodSync(path.join(at, name), 0o755);
  }
  const made = `set -e; cd '${at}'; mount --make-rprivate /
mkdir over root; mount -t tmpfs -o size=900m marcher-e2e over; mkdir over/up over/work
mount -t overlay marcher-e2e -o lowerdir=/,upperdir=over/up,workdir=over/work root
mount -t proc proc root/proc; mount --rbind /dev root/dev
for each in run tmp var/tmp; do mount -t tmpfs marcher-e2e root/$each; done
rm -rf root/opt/marcher root/var/lib/marcher root/etc/default/marcherd root/usr/local/bin/marcher
mkdir -p root/run/systemd/system; cp systemctl journalctl root/usr/bin/
touch ready; exec chroot root /bin/sh -c 'while :; do sleep 1; done'`;
  const holder = scope.spawn(['unshare', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', made], {
    netns,
    log: 'other-machine.log',
  });
  await until('the other machine', () => existsSync(path.join(at, 'ready')) || holder.exitCode !== null);
  if (holder.exitCode !== null) throw new Error('the other machine could not be made: other-machine.log');
  const [pid] = childrenOf(holder.pid as number);
  const enter = ['nsenter', `--target=${pid}`, '--mount', '--pid', '--net', '--root', '--wdns=/'];
  const config = [`ForceCommand exec ${enter.join(' ')} -- /bin/sh -c "$SSH_ORIGINAL_COMMAND"`];
  const sshd = await startSshd({ directory: path.join(at, 'sshd'), authorizedKeys, config });
  return {
    sshd,
    run: (script) => scope.must([...enter, '--', '/bin/sh', '-c', script]),
    async stop() {
      await sshd.stop();
      // The first process of its namespace: all others end with it.
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    },
  };
}
