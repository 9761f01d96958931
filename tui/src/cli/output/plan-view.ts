// SPDX-License-Identifier: Apache-2.0
/** Changes as terraform prints them: "+ created", "~ changed" with its fields, "- removed", and a line of counts. */
import { type ObjectDiff, Operation } from '@marcher/proto/marcher/v1/config_service_pb';
import { nounOf } from '../commands/kind.js';
import { printable, type Style } from './style.js';

export interface Counts {
  readonly created: number;
  readonly updated: number;
  readonly deleted: number;
}

export function countDiffs(diffs: readonly ObjectDiff[]): Counts {
  const count = (operation: Operation): number => diffs.filter((diff) => diff.operation === operation).length;
  return { created: count(Operation.CREATE), updated: count(Operation.UPDATE), deleted: count(Operation.DELETE) };
}

export function formatCounts({ created, updated, deleted }: Counts): string {
  return `${created} to create, ${updated} to change, ${deleted} to remove`;
}

export function formatDiffs(diffs: readonly ObjectDiff[], style: Style): string {
  return diffs.map((diff) => formatDiff(diff, style)).join('');
}

function formatDiff({ kind, name, operation, fields }: ObjectDiff, style: Style): string {
  const [sign, paint] =
    operation === Operation.CREATE
      ? (['+', style.green] as const)
      : operation === Operation.DELETE
        ? (['-', style.red] as const)
        : (['~', style.yellow] as const);
  const lines = [paint(`${sign} ${printable(nounOf(kind))} ${printable(name)}`)];
  const width = Math.min(48, Math.max(0, ...fields.map((field) => field.path.length)));
  for (const { path, before, after } of fields) {
    const label = printable(path).padEnd(width);
    if (before === '') lines.push(style.green(`    + ${label}  ${block(after)}`));
    else if (after === '') lines.push(style.red(`    - ${label}  ${block(before)}`));
    else lines.push(`${style.yellow('    ~')} ${label}  ${style.red(block(before))} -> ${style.green(block(after))}`);
  }
  return lines.map((line) => `${line}\n`).join('');
}

/** A value of several lines goes under its path. */
function block(value: string): string {
  const lines = value.replace(/\n+$/, '').split('\n').map(printable);
  return lines.length === 1 ? (lines[0] ?? '') : lines.map((line) => `\n        ${line}`).join('');
}
