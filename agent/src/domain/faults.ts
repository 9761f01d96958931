// SPDX-License-Identifier: Apache-2.0
/** What is wrong with a configuration, and the rules that fields of every kind share. */
import { LIMITS } from './defaults.js';

export interface Fault {
  readonly path: string;
  readonly reason: string;
  readonly fix: string;
}

/** Collects faults, up to a number that a person still reads. */
export class Faults {
  readonly list: Fault[] = [];

  get full(): boolean {
    return this.list.length >= LIMITS.violations;
  }

  add(path: string, reason: string, fix: string): void {
    if (!this.full) this.list.push({ path, reason, fix });
  }
}

const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

export function duration(ms: number): string {
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  if (ms % 60_000 === 0) return `${ms / 60_000}m`;
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`;
}

/** Where something stands. Put into words only when there is a fault: a configuration has 100,000 backends. */
export type Place = string | { toString(): string };

export function range<N extends number | bigint>(
  faults: Faults,
  at: Place,
  field: string,
  value: N | undefined,
  min: N,
  max: N,
): void {
  if (value === undefined || (value >= min && value <= max)) return;
  faults.add(`${at}.${field}`, `${value} is out of range`, `write a number from ${min} to ${max}`);
}

export function time(
  faults: Faults,
  at: Place,
  field: string,
  value: number | undefined,
  minMs: number,
  maxMs: number,
): void {
  if (value === undefined || (value >= minMs && value <= maxMs)) return;
  const fix = `write a time from ${duration(minMs)} to ${duration(maxMs)}`;
  faults.add(`${at}.${field}`, `${duration(value)} is out of range`, fix);
}

export function known(faults: Faults, at: Place, field: string, value: number, names: object): void {
  if (value in names) return;
  faults.add(
    `${at}.${field}`,
    `${value} is not a value that this version knows`,
    'use one of the values in the documentation',
  );
}

/** Objects of every kind are named alike. */
export function named(faults: Faults, path: string, name: string, noun: string): void {
  if (NAME.test(name)) return;
  const reason = name === '' ? 'is missing' : `${JSON.stringify(name.slice(0, 80))} is not a ${noun} name`;
  const fix = 'write 1 to 63 of a-z, 0-9 and "-", beginning and ending with a letter or digit';
  faults.add(`${path}.name`, reason, fix);
}

/** Of the field "cluster", by the same rule; that there is such a cluster is the mesh's to say. */
export function clustered(faults: Faults, path: string, cluster: string): void {
  if (cluster === '' || NAME.test(cluster)) return;
  const fix = 'write 1 to 63 of a-z, 0-9 and "-", beginning and ending with a letter or digit; or leave it out';
  faults.add(`${path}.cluster`, `${JSON.stringify(cluster.slice(0, 80))} is not a cluster name`, fix);
}
