// SPDX-License-Identifier: Apache-2.0
/** The last values as bars, the newest at the right; all as high as the highest of them lets them be. */
export function sparkline(values: readonly number[], width: number, bars: readonly string[]): string {
  const shown = width === 0 ? [] : values.slice(-width);
  const highest = shown.reduce((most, value) => Math.max(most, value), 0);
  const top = bars.length - 1;
  const bar = (value: number): string => {
    // What is above nothing is seen to be.
    const height = highest <= 0 || value <= 0 ? 0 : Math.max(1, Math.round((value / highest) * top));
    return bars[height] ?? '';
  };
  return shown.map(bar).join('').padStart(width);
}
