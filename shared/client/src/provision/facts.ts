// SPDX-License-Identifier: Apache-2.0
/** What a machine is and has, asked by one script that changes nothing. */
import { plainText } from '../ssh/ssh-error.js';
import type { Layout } from './layout.js';
import { quoted } from './machine.js';

export interface MachineFacts {
  readonly hostName: string;
  /** "Linux" */
  readonly system: string;
  /** "Debian GNU/Linux 12 (bookworm)"; empty: not known. */
  readonly distribution: string;
  readonly kernel: string;
  /** As uname -m says it. */
  readonly architecture: string;
  /** "2.36"; empty: another library than glibc. */
  readonly glibc: string;
  readonly uid: number;
  /** sudo without a password. */
  readonly maySudo: boolean;
  readonly hasSystemd: boolean;
  /** Of tar, gzip, sha256sum and flock those that are not there. */
  readonly lacks: readonly string[];
  /** Where the installation would be, and where its state. */
  readonly freeBytes: number;
  readonly memoryBytes: number;
  /** "tcp/7400", of those that were asked for. */
  readonly takenPorts: readonly string[];
  /** Paths of a node that are there already. */
  readonly there: readonly string[];
  /** An engine runs, of whichever installation. */
  readonly runs: boolean;
  /** The address that this session has come to. */
  readonly address: string;
}

export const FACTS_MAX_BYTES = 16 << 10;

/** A line "KEY VALUE" for each. ports: TCP and UDP. Nothing in it needs root. */
export function factsScript(layout: Layout, ports: readonly number[]): string {
  const paths = [layout.tree, layout.unit, layout.settings, layout.token, layout.command, layout.socket];
  return `export LC_ALL=C
say() { printf '%s %s\\n' "$1" "$2"; }
say host "$(uname -n)"; say system "$(uname -s)"; say kernel "$(uname -r)"; say arch "$(uname -m)"
say distribution "$(. /etc/os-release 2>/dev/null && printf %s "$PRETTY_NAME")"
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/^glibc //')"
say uid "$(id -u)"
sudo -n true 2>/dev/null && say sudo yes
[ -d /run/systemd/system ] && say systemd yes
for tool in tar gzip sha256sum flock; do command -v "$tool" >/dev/null || say lacks "$tool"; done
# The nearest directory above that is there.
free() { at=$1; while [ ! -d "$at" ]; do at=\${at%/*}; at=\${at:-/}; done; df -Pk "$at" | awk 'NR == 2 { print $4 }'; }
say free "$(free ${quoted(layout.tree)})"; say free "$(free ${quoted(layout.state)})"; say free "$(free ${quoted(layout.temporary)})"
say memory "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)"
for port in ${ports.map(String).join(' ')}; do
  hex=$(printf ':%04X' "$port")
  awk -v p="$hex" '$4 == "0A" && substr($2, length($2) - 4) == p { f = 1 } END { exit !f }' /proc/net/tcp /proc/net/tcp6 2>/dev/null && say taken "tcp/$port"
  awk -v p="$hex" 'substr($2, length($2) - 4) == p { f = 1 } END { exit !f }' /proc/net/udp /proc/net/udp6 2>/dev/null && say taken "udp/$port"
done
for path in ${paths.map(quoted).join(' ')}; do if [ -e "$path" ] || [ -L "$path" ]; then say there "$path"; fi; done
[ -n "$(ls -A ${quoted(layout.state)} 2>/dev/null)" ] && say there ${quoted(layout.state)}
# Of this machine: one in a namespace of the network has other ports.
own=$(readlink /proc/self/ns/net)
for comm in /proc/[0-9]*/comm; do
  [ "$(cat "$comm" 2>/dev/null)" = marcher-engine ] || continue
  net=$(readlink "\${comm%comm}ns/net" 2>/dev/null) || net=$own
  if [ "$net" = "$own" ]; then say runs yes; break; fi
done
set -- $SSH_CONNECTION
say address "\${3:-}"
say end yes`;
}

/** undefined: that is not what the script says. */
export function parseFacts(text: string): MachineFacts | undefined {
  const said = new Map<string, string[]>();
  for (const line of text.slice(0, FACTS_MAX_BYTES).split('\n')) {
    const space = line.indexOf(' ');
    if (space <= 0) continue;
    const value = plainText(line.slice(space + 1), 200);
    said.set(line.slice(0, space), [...(said.get(line.slice(0, space)) ?? []), value]);
  }
  const one = (key: string): string => said.get(key)?.[0] ?? '';
  // A command that failed leaves its value out; one that was cut off leaves out the end.
  if (one('end') !== 'yes' || one('system') === '') return undefined;
  const kibibytes = (key: string): number =>
    Math.min(...(said.get(key) ?? []).map((each) => Number(each) * 1_024 || 0));
  return {
    hostName: one('host'),
    system: one('system'),
    distribution: one('distribution'),
    kernel: one('kernel'),
    architecture: one('arch'),
    glibc: one('glibc'),
    uid: one('uid') === '' ? -1 : Number(one('uid')),
    maySudo: one('sudo') === 'yes',
    hasSystemd: one('systemd') === 'yes',
    lacks: said.get('lacks') ?? [],
    freeBytes: said.has('free') ? kibibytes('free') : 0,
    memoryBytes: said.has('memory') ? kibibytes('memory') : 0,
    takenPorts: said.get('taken') ?? [],
    there: said.get('there') ?? [],
    runs: one('runs') === 'yes',
    address: one('address'),
  };
}
