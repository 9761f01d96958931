// SPDX-License-Identifier: Apache-2.0
/** `marcherd uninstall-dataplane`: what Marcher has in the kernel, shown and taken away, without an agent. */
import { existsSync } from 'node:fs';
import { fromBinary } from '@bufbuild/protobuf';
import { type Installed, type InstalledLink, InstalledSchema } from '@marcher/proto/marcher/packet/v1/packet_pb';
import { NativeError } from '../dataplane/binding.js';
import { libraryPath } from '../dataplane/library.js';
import { PacketLibrary } from './binding.js';

export interface UninstallOptions {
  readonly pinDir: string;
  readonly libraryPath?: string | undefined;
  readonly dryRun: boolean;
}

export type UninstallOutcome =
  | { readonly kind: 'done' | 'nothing'; readonly text: string }
  /** An agent has it. */
  | { readonly kind: 'busy'; readonly text: string }
  | { readonly kind: 'failed' | 'unavailable'; readonly text: string };

export function uninstallDataplane(options: UninstallOptions): UninstallOutcome {
  const { pinDir, dryRun } = options;
  try {
    const library = new PacketLibrary(libraryPath(options.libraryPath));
    const installed = fromBinary(InstalledSchema, library.installed(pinDir));
    if (dryRun) return announced(installed);
    // Even an empty directory goes; who holds it is said by the library.
    library.uninstall(pinDir);
    const lines = linesOf(installed);
    if (lines.length === 0) return nothingIn(pinDir);
    return { kind: 'done', text: `taken away:\n${lines.join('\n')}\nnothing of Marcher's is left in ${pinDir}` };
  } catch (error) {
    if (!(error instanceof NativeError)) throw error;
    if (error.code === 'busy') return { kind: 'busy', text: `nothing was taken away: ${error.message}` };
    const kind = error.code === 'load' || error.code === 'abi' ? 'unavailable' : 'failed';
    return { kind, text: error.message };
  }
}

function announced(installed: Installed): UninstallOutcome {
  const lines = linesOf(installed);
  if (lines.length === 0 && !installed.held) return nothingIn(installed.pinDir);
  const parts = [`would be taken away:\n${lines.join('\n')}`];
  if (installed.others.length > 0) {
    parts.push(`is not Marcher's and stays, with ${installed.pinDir}:\n${installed.others.map(indented).join('\n')}`);
  }
  if (!installed.held) return { kind: 'done', text: parts.join('\n') };
  const who = installed.holder === 0 ? 'another process' : `process ${installed.holder}`;
  const how = installed.holder === 0 ? '' : `, or kill ${installed.holder}`;
  parts.push(`but ${who} has ${installed.pinDir} open: end that agent first (systemctl stop marcherd${how})`);
  return { kind: 'busy', text: parts.join('\n') };
}

function nothingIn(pinDir: string): UninstallOutcome {
  const text = `nothing of Marcher's is in ${pinDir}; if the agent was given another --bpf-dir (the drop-in for XDP has /run/marcher/bpf/node), name that`;
  return { kind: 'nothing', text };
}

function indented(text: string): string {
  return `  ${text}`;
}

function linesOf({ links, pins, pinDir }: Installed): string[] {
  const lines = links.map((link) =>
    indented(`${link.hook === '' ? 'link' : link.hook} of ${target(link)} (${link.path})`),
  );
  lines.push(...pins.map((path) => indented(path)));
  if (lines.length > 0 || existsSync(pinDir)) lines.push(indented(pinDir));
  return lines;
}

function target({ hook, index, interface: name, path }: InstalledLink): string {
  if (hook === 'sk_lookup') return `network namespace ${/link_([0-9]+)$/.exec(path)?.[1]}`;
  if (index === 0) return 'an interface that is gone';
  const namespace = /([0-9]+)_[0-9]+$/.exec(path)?.[1];
  return name === '' ? `interface ${index} of network namespace ${namespace}` : name;
}
