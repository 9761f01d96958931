// SPDX-License-Identifier: Apache-2.0
/** How an agent is run on its machine: as a service of systemd, or as a process where that is not there. Scripts of the machine's root. */
import type { Layout } from './layout.js';
import { quoted } from './machine.js';

export interface Runner {
  /** Whether a user of its own is made for it. */
  readonly hasAccount: boolean;
  /** Returns when it was started; notes first what it is about to make (steps.ts). */
  start(layout: Layout): string;
  /** Also where it was started in part, or not at all. */
  stop(layout: Layout): string;
  /** Its last words, of a node that does not come up. */
  lastWords(layout: Layout): string;
}

const UNIT = 'marcherd.service';

export const systemd: Runner = {
  hasAccount: true,
  start: ({ tree, unit }) => `note unit
install -m 644 -- ${quoted(`${tree}/deploy/${UNIT}`)} ${quoted(unit)}
systemctl daemon-reload
systemctl enable --now ${UNIT}`,
  stop: ({ tree, unit }) => `if noted unit; then
  if [ -e ${quoted(unit)} ]; then systemctl disable --now ${UNIT}; fi
  ${endAllOf(tree)}
  rm -f -- ${quoted(unit)}
  systemctl daemon-reload
  systemctl reset-failed ${UNIT} 2>/dev/null || :
fi`,
  lastWords: () => `journalctl --no-pager --quiet -o cat -n 15 -u ${UNIT}`,
};

export const plainProcess: Runner = {
  hasAccount: false,
  start: ({ tree, state, run, socket, settings }) => `set -a; . ${quoted(settings)}; set +a
umask 077; mkdir -p -- ${quoted(run)}
setsid ${quoted(`${tree}/agent/bin/marcherd`)} --state ${quoted(state)} --run ${quoted(run)} \\
  --socket ${quoted(socket)} >> ${quoted(`${run}/agent.log`)} 2>&1 < /dev/null 9>&- &`,
  stop: ({ tree }) => endAllOf(tree),
  lastWords: ({ run }) => `tail -n 15 ${quoted(`${run}/agent.log`)}`,
};

/** The agent first: it would start its engine again. After five seconds without asking. Theirs are the only programs in the tree. */
function endAllOf(tree: string): string {
  return `within() {
    for exe in /proc/[0-9]*/exe; do
      case $(readlink "$exe" 2>/dev/null) in "$1"*) pid=\${exe%/exe}; echo "\${pid#/proc/}" ;; esac
    done
  }
  if root=$(cd ${quoted(tree)} 2>/dev/null && pwd -P); then
    for each in "$root/node_modules/" "$root/"; do
      for signal in TERM KILL; do
        for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
          pids=$(within "$each"); [ -n "$pids" ] || break 2
          [ "$try" = 1 ] && kill -s "$signal" $pids 2>/dev/null
          sleep 0.2
        done
      done
    done
    pids=$(within "$root/")
    [ -z "$pids" ] || { echo "processes $pids of $root don't end" >&2; exit 1; }
  fi`;
}
