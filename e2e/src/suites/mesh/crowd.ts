// SPDX-License-Identifier: Apache-2.0
/** Thousands of connections that are no node's: each is refused, they are told in few lines, and the mesh goes on. */
import { readdirSync, readFileSync } from 'node:fs';
import type { CrowdSettings } from '../../harness/crowd-main.js';
import { PACE } from '../../harness/pace.js';
import { now, sleep, until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { MeshGround, type MeshNode } from './ground.js';

/** What the agent lets in of these at once (agent/src/adapters/outbound/identity/mesh-listener.ts). */
const ADMITTED_MAX = 1_024 + 64;
/** More than one address may hold, so that the bound is the one on all of them. */
const ADDRESSES = 40;
/** For the short waves of npm test. */
const MEMORY_MIB_MAX = 150;
/**
 * For 10,000 handshakes: 1,024 of them at once have their TLS state, and what they leave is collected later. Measured:
 * 190 MiB. That nothing of it stays is the next case's to show.
 */
const LARGE_MEMORY_MIB_MAX = 256;

const rssMib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024;
const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

interface Line {
  readonly audit?: string;
  readonly refusal?: string;
  readonly count?: number;
}

function refusals({ agent }: MeshNode): Line[] {
  return readFileSync(agent.logFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"mesh-refused"'))
    .map((line) => JSON.parse(line) as Line);
}

/** From a change at one node until another has it in force, with the longest time in which that one gave no answer. */
async function changed(ground: MeshGround, from: MeshNode, to: MeshNode, name: string, port: number): Promise<number> {
  await ground.apply(from, ground.service(name, port));
  const began = now();
  await until(`${to.agent.name} to have ${name}`, async () => {
    const [here, there] = await Promise.all([ground.status(from), ground.status(to)]);
    return here.configHash === there.configHash;
  });
  return now() - began;
}

function crowdCase(
  name: string,
  waves: readonly Omit<CrowdSettings, 'host' | 'port' | 'sources'>[],
  memoryMibMax: number = MEMORY_MIB_MAX,
): Case {
  return {
    name,
    alone: true,
    limitSeconds: 600,
    run: async (world: World) => {
      const ground = new MeshGround(world, 2);
      await ground.start();
      const [first, second] = ground.nodes as [MeshNode, MeshNode];
      await ground.apply(first, ground.service('web', 8001));
      await ground.agreed(['web']);
      const loads = await Promise.all(ground.nodes.map((node) => ground.load(node, 8001)));
      const { pid } = first.agent;
      const before = { rss: rssMib(pid), files: openFiles(pid) };
      const peak = { rss: 0, files: 0 };
      const watch = setInterval(() => {
        peak.rss = Math.max(peak.rss, rssMib(pid));
        peak.files = Math.max(peak.files, openFiles(pid));
      }, 50);
      const began = now();
      let connected = 0;
      /** Of each wave: what grows from one to the next of a kind is not given back. */
      const peaks: number[] = [];
      try {
        for (const [at, wave] of waves.entries()) {
          const crowd = ground.crowd(first, ADDRESSES, wave);
          // In the midst of them, both ways.
          await sleep(500);
          const ms = await changed(ground, second, first, `to-${at}`, 8010 + at);
          const back = await changed(ground, first, second, `from-${at}`, 8020 + at);
          world.note(`${wave.kind}: a change at the node they come to, ms`, ms);
          world.note(`${wave.kind}: a change from it, ms`, back);
          world.check(
            Math.max(ms, back) < 1_000 * PACE,
            `changes took ${ms} and ${back} ms among ${wave.kind} strangers`,
          );
          const counts = await crowd;
          world.note(wave.kind, counts);
          // What the queue of the listening socket has no room for, the kernel drops.
          const least = 0.9 * wave.connections;
          world.check(counts.connected >= least, `only ${counts.connected} ${wave.kind} strangers came through`);
          connected += counts.connected;
          peaks.push(Math.round(peak.rss));
          peak.rss = 0;
        }
      } finally {
        clearInterval(watch);
      }
      const seconds = (now() - began) / 1_000;
      world.note('open files, before and at most', [before.files, peak.files]);
      const most = Math.max(...peaks);
      world.note('memory in MiB, before and at most in each wave', [Math.round(before.rss), peaks]);
      // Sockets are files: these are what it has let in of them at once.
      world.check(peak.files - before.files <= ADMITTED_MAX + 100, `the agent had ${peak.files} files open`);
      world.check(most - before.rss <= memoryMibMax, `the agent grew from ${before.rss} to ${most} MiB`);
      const counted = await until('what was refused to be in the log', () => {
        const lines = refusals(first);
        const count = lines.reduce((sum, line) => sum + (line.count ?? 0), 0);
        // Those that were let in last are refused later, and some the kernel has answered and then dropped.
        return count >= 0.8 * connected - ADMITTED_MAX && { count, lines: lines.length };
      });
      world.note('refused', counted);
      // A line per kind and second, and four kinds.
      world.check(counted.lines <= 4 * (seconds + 3), `${counted.lines} lines in ${seconds} s`);
      await ground.unharmed(loads);
    },
  };
}

export const crowd: readonly Case[] = [
  crowdCase('2,000 connections of strangers: bounded, counted in few lines, and the mesh goes on', [
    { kind: 'half', connections: 2_000, rate: 2_000, holdMs: 1_500 },
    { kind: 'stranger', connections: 250, rate: 250, holdMs: 0 },
  ]),
];

const WAVES = 6;
const WAVE = { kind: 'stranger', connections: 3_000, rate: 400, holdMs: 1_000 } as const;
/**
 * Above what there was before, after each wave: the agent does nothing below 16. Measured: 12 less to 23 more, and no more after the
 * sixth than after the third. A leak of 2 KiB per stranger, planted, left 20 after the second wave; each would add 6.
 */
const LEFT_MIB_MAX = 24;
/** The agent looks every 15 s, and less often while it finds all in use (agent/src/adapters/outbound/spare-memory.ts). */
const GIVEN_BACK_MS = 100_000;

const wavesCase: Case = {
  name: `${WAVES} waves of TLS strangers: the memory that they took is given back, and none of them leaves any`,
  alone: true,
  limitSeconds: 900,
  run: async (world: World) => {
    const ground = new MeshGround(world, 2);
    await ground.start();
    const [first] = ground.nodes as [MeshNode, MeshNode];
    const { pid } = first.agent;
    const files = openFiles(pid);
    const before = Math.round(rssMib(pid));
    const waves: { mostMib: number; leftMib: number; connected: number; shaken: number }[] = [];
    for (let wave = 0; wave < WAVES; wave++) {
      let most = 0;
      const watch = setInterval(() => {
        most = Math.max(most, rssMib(pid));
      }, 50);
      try {
        const { connected, shaken } = await ground.crowd(first, ADDRESSES, WAVE);
        world.check(connected >= 0.99 * WAVE.connections, `only ${connected} strangers came through`);
        await until('the strangers to be gone', () => openFiles(pid) <= files + 10);
        await until(
          `memory to be given back, of which there was ${before} MiB before`,
          () => rssMib(pid) <= before + LEFT_MIB_MAX || Promise.reject(new Error(`there are ${rssMib(pid)} MiB`)),
          GIVEN_BACK_MS,
        );
        waves.push({ mostMib: Math.round(most), leftMib: Math.round(rssMib(pid)) - before, connected, shaken });
      } finally {
        clearInterval(watch);
        world.note('memory before, in MiB', before);
        world.note('waves', waves);
      }
    }
  },
};

/** On demand: some minutes, as each TLS handshake takes both sides some ms of a processor. */
export const largeCrowd: readonly Case[] = [
  crowdCase(
    '10,000 connections of each kind of stranger',
    [
      { kind: 'silent', connections: 10_000, rate: 3_000, holdMs: 3_000 },
      { kind: 'half', connections: 10_000, rate: 3_000, holdMs: 3_000 },
      { kind: 'stranger', connections: 10_000, rate: 400, holdMs: 2_000 },
      { kind: 'stranger', connections: 10_000, rate: 400, holdMs: 12_000 },
    ],
    LARGE_MEMORY_MIB_MAX,
  ),
  wavesCase,
];
