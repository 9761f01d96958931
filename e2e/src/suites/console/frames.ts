// SPDX-License-Identifier: Apache-2.0
/**
 * Frames of a page, while it is used: how far they are apart, and which of them took longer than 50 ms by the browser's own account (long
 * animation frames: tasks, styles, layout and painting until the frame is handed over).
 */
import type { Page } from 'playwright-core';

export interface Frames {
  readonly frames: number;
  /** From one frame to the next, ms. A frame that is late is one that somebody sees. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Frames above 50 ms, and the longest of them, ms. */
  readonly long: number;
  readonly longestMs: number;
  /** What ran longest in the longest of them. */
  readonly by: string;
}

/** Begins to look. Gives what has been seen when it is asked. */
export async function watchFrames(page: Page): Promise<() => Promise<Frames>> {
  await page.evaluate(`{
    const seen = { gaps: [], long: [], running: true };
    globalThis.framesSeen = seen;
    let last = performance.now();
    const frame = (now) => {
      seen.gaps.push(now - last);
      last = now;
      if (seen.running) requestAnimationFrame(frame);
    };
    requestAnimationFrame((now) => { last = now; requestAnimationFrame(frame); });
    new PerformanceObserver((list) => {
      for (const { duration, scripts, renderStart, startTime } of list.getEntries()) {
        const [longest] = [...scripts].sort((a, b) => b.duration - a.duration);
        seen.long.push({ duration, by: longest === undefined ? 'rendering' :
          (longest.invoker || longest.name) + ' ' + Math.round(longest.duration) + ' ms, drawn from ' + Math.round(renderStart - startTime) });
      }
    }).observe({ type: 'long-animation-frame' });
  }`);
  return async () => {
    const { gaps, long } = (await page.evaluate(`(framesSeen.running = false, framesSeen)`)) as {
      readonly gaps: readonly number[];
      readonly long: readonly { readonly duration: number; readonly by: string }[];
    };
    const ordered = gaps.toSorted((a, b) => a - b);
    const at = (share: number): number =>
      ordered[Math.min(ordered.length - 1, Math.floor(ordered.length * share))] ?? 0;
    const [longest] = long
      .filter(({ duration }) => duration > FRAME_GOAL_MS)
      .toSorted((a, b) => b.duration - a.duration);
    return {
      frames: gaps.length,
      ...{ p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) },
      long: long.filter(({ duration }) => duration > FRAME_GOAL_MS).length,
      longestMs: longest?.duration ?? 0,
      by: longest?.by ?? '',
    };
  };
}

/** Of issue 5. */
export const FRAME_GOAL_MS = 50;
