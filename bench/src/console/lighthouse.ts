// SPDX-License-Identifier: Apache-2.0
/**
 * Lighthouse of the built page, as the gateway serves it. It is a program of some 180 MB that nothing else needs, so it has a lock file of its own
 * (bench/lighthouse) and is installed by the first run.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { REPOSITORY } from '@marcher/e2e/harness/scope';
import { withOpened } from './opened.js';

const HOME = path.join(REPOSITORY, 'bench/lighthouse');
const PROGRAM = path.join(HOME, 'node_modules/lighthouse/cli/index.js');
const GOAL = 95;
const run = promisify(execFile);

export interface LighthouseScores {
  readonly preset: 'desktop' | 'mobile';
  /** 0 to 100. */
  readonly performance: number;
  readonly accessibility: number;
  readonly firstContentfulPaintMs: number;
  readonly largestContentfulPaintMs: number;
  readonly totalBlockingTimeMs: number;
  readonly layoutShift: number;
  /** What costs points: its name and score. */
  readonly short: readonly string[];
  readonly passed: boolean;
}

interface Report {
  readonly categories: Readonly<
    Record<
      string,
      { readonly score: number; readonly auditRefs: readonly { readonly id: string; readonly weight: number }[] }
    >
  >;
  readonly audits: Readonly<
    Record<string, { readonly score: number | null; readonly numericValue?: number; readonly title: string }>
  >;
}

export async function lighthouse(nodes: number, services: number): Promise<readonly LighthouseScores[]> {
  if (!existsSync(PROGRAM)) {
    console.error('npm ci in bench/lighthouse');
    await run('npm', ['ci', '--ignore-scripts', '--workspaces=false'], { cwd: HOME });
  }
  return await withOpened({ nodes, services, backends: 2, moving: 0.01 }, async ({ address, page, debugPort }) => {
    // The cookie that this page was given is Chromium's: what Lighthouse opens has it, too.
    await page.goto('about:blank');
    const scores: LighthouseScores[] = [];
    for (const preset of ['desktop', 'mobile'] as const)
      scores.push(await judged(new URL(address).origin, debugPort, preset));
    return scores;
  });
}

async function judged(
  origin: string,
  debugPort: number,
  preset: LighthouseScores['preset'],
): Promise<LighthouseScores> {
  const file = path.join(REPOSITORY, `.cache/bench-console/lighthouse-${preset}.json`);
  const argv = [
    ...[PROGRAM, `${origin}/`, '--quiet', `--port=${debugPort}`, '--output=json', `--output-path=${file}`],
    ...['--only-categories=performance,accessibility', ...(preset === 'desktop' ? ['--preset=desktop'] : [])],
  ];
  await run(process.execPath, argv, { timeout: 180_000 });
  const { categories, audits } = JSON.parse(readFileSync(file, 'utf8')) as Report;
  const score = (category: string): number => Math.round((categories[category]?.score ?? 0) * 100);
  const figure = (audit: string): number => audits[audit]?.numericValue ?? Number.NaN;
  const weighty = Object.values(categories).flatMap(({ auditRefs }) => auditRefs.filter(({ weight }) => weight > 0));
  const short = weighty.flatMap(({ id }) => {
    const { score: points = 1, title } = audits[id] ?? { title: id };
    return points === null || points >= 0.95 ? [] : [`${title}: ${points}`];
  });
  const [performance, accessibility] = [score('performance'), score('accessibility')];
  return {
    preset,
    performance,
    accessibility,
    firstContentfulPaintMs: figure('first-contentful-paint'),
    largestContentfulPaintMs: figure('largest-contentful-paint'),
    totalBlockingTimeMs: figure('total-blocking-time'),
    layoutShift: figure('cumulative-layout-shift'),
    short,
    passed: performance >= GOAL && accessibility >= GOAL,
  };
}
