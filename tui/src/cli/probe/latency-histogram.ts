// SPDX-License-Identifier: Apache-2.0
/**
 * Latencies in buckets whose width grows with their value: 64 per power of two, so a quantile is off by at most 1.6 %.
 * Memory does not grow with the number of samples (values in microseconds, up to 71 minutes).
 */
const subBits = 6;
const sub = 1 << subBits;
const maxValue = 2 ** 32 - 1;

export class LatencyHistogram {
  private readonly counts = new Float64Array((32 - subBits + 1) * sub);
  count = 0;
  sum = 0;
  min = Number.POSITIVE_INFINITY;
  max = 0;

  add(us: number): void {
    const value = Math.min(maxValue, Math.max(0, Math.round(us)));
    const at = index(value);
    this.counts[at] = (this.counts[at] ?? 0) + 1;
    this.count++;
    this.sum += value;
    if (value < this.min) this.min = value;
    if (value > this.max) this.max = value;
  }

  /** The value that a share of the samples does not exceed; 0 without samples. */
  quantile(share: number): number {
    if (this.count === 0) return 0;
    const rank = Math.max(1, Math.ceil(share * this.count));
    let seen = 0;
    for (let i = 0; i < this.counts.length; i++) {
      seen += this.counts[i] ?? 0;
      if (seen >= rank) return Math.min(this.max, Math.max(this.min, upper(i)));
    }
    return this.max;
  }

  mean(): number {
    return this.count === 0 ? 0 : this.sum / this.count;
  }
}

function index(value: number): number {
  if (value < sub) return value;
  const shift = 31 - Math.clz32(value) - subBits;
  return (shift + 1) * sub + ((value >>> shift) - sub);
}

/** Largest value of the bucket. */
function upper(at: number): number {
  if (at < sub) return at;
  const shift = Math.floor(at / sub) - 1;
  return ((at % sub) + sub + 1) * 2 ** shift - 1;
}
