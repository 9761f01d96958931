// SPDX-License-Identifier: Apache-2.0
/**
 * Prometheus' text exposition format 0.0.4, written piece by piece.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 *
 * Written by hand and not with prom-client: at 10,000 services with 10 backends a scrape has more than a million
 * samples, and a registry that keeps each as an object, labels hashed, would hold them all twice and stop the event
 * loop. Here a sample is a line, written when it is its turn.
 */
export type Labels = readonly (readonly [name: string, value: string])[];

/** `{service="web",backend="10.0.0.1:80"}`; empty without labels. */
export function labelText(labels: Labels): string {
  if (labels.length === 0) return '';
  return `{${labels.map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(',')}}`;
}

export function header(name: string, type: 'counter' | 'gauge' | 'histogram', help: string): string {
  return `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n# TYPE ${name} ${type}\n`;
}

export function sample(name: string, labels: string, value: number | bigint): string {
  return `${name}${labels} ${value}\n`;
}

function escapeLabel(value: string): string {
  if (!/["\\\n]/.test(value)) return value;
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

/**
 * Connect times: the engine counts in powers of two of microseconds. Shown are bounds from 64 µs to 16.8 s; the counts
 * below and above are in the first and in +Inf.
 */
const firstBucket = 5;
const lastBucket = 23;
const bounds: readonly string[] = Array.from({ length: lastBucket - firstBucket + 1 }, (_, i) =>
  String(2 ** (firstBucket + i + 1) / 1e6),
);

export function histogram(name: string, labels: Labels, counts: readonly bigint[], sumMicroseconds: bigint): string {
  const prefix = labels.map(([label, value]) => `${label}="${escapeLabel(value)}",`).join('');
  let text = '';
  let total = 0n;
  let next = 0;
  for (let i = firstBucket; i <= lastBucket; i++) {
    for (; next <= i; next++) total += counts[next] ?? 0n;
    text += `${name}_bucket{${prefix}le="${bounds[i - firstBucket]}"} ${total}\n`;
  }
  for (; next < counts.length; next++) total += counts[next] ?? 0n;
  const plain = labelText(labels);
  return `${text}${name}_bucket{${prefix}le="+Inf"} ${total}\n${name}_sum${plain} ${Number(sumMicroseconds) / 1e6}\n${name}_count${plain} ${total}\n`;
}
