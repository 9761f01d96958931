// SPDX-License-Identifier: Apache-2.0
/**
 * Gives memory back to the kernel that this process holds and does not use.
 *
 * glibc gives back by itself only what is free at the end of its heap, and after a crowd of connections something small is
 * always left there. Node takes 64 KiB for what each TLS connection may read, and some 130 KiB in all until its handshake is
 * over: 1,024 handshakes at once make a heap of 140 MB, of which 6 are in use when they have gone. Each crowd also touches pages of
 * it that the one before did not, which looks like a leak. malloc_trim() gives back every page that is free, wherever it is;
 * before it V8 has to let go of what belongs to objects that are gone, for which it has no hurry on a quiet node.
 */
import koffi from 'koffi';

export interface SpareMemoryOptions {
  /** Resident bytes of this process. */
  readonly residentBytes: () => number;
  /** In which share of the time since it was asked last this thread had something to do. */
  readonly busyShare: () => number;
  /** Of JavaScript's garbage, now. */
  readonly collect: () => void;
  readonly giveBack: () => Promise<void>;
  readonly everyMs?: number;
}

export interface SpareMemory {
  stop(): void;
}

const EVERY_MS = 15_000;
/** Above the least that there was: less is not worth it. */
const GROWTH_BYTES = 16 << 20;
/**
 * It stops this thread for as long as V8 takes to look at all of its heap, 20 to 50 ms, and then for the 10 ms in which it gets no
 * memory. So it waits for quiet: now and then a change of the configuration is too much. After QUIET_LOOKS in vain it is content with
 * little to do, which also means that a crowd has gone, and no longer needs what is to be given back.
 */
const QUIET_SHARE = 0.03;
const QUIET_LOOKS = 20;
const BUSY_SHARE = 0.2;
/** Where it is in use all the same, it is tried again after twice the time, and then every ten minutes. */
const LOOKS_MAX = 40;
/** Of what there is above the least, so much is taken for needed after each look: most of it within an hour or two. */
const NEEDED_SHARE = 1 / 200;

export function watchSpareMemory(options: SpareMemoryOptions): SpareMemory {
  const { residentBytes, busyShare, collect, giveBack, everyMs = EVERY_MS } = options;
  let least = residentBytes();
  /** Looks until it is tried again, and after the next try. */
  let wait = 0;
  let pause = 1;
  /** Looks at which it was due, and the thread had too much to do. */
  let unquiet = 0;
  const gaveBack = (): void => {
    if (residentBytes() - least < GROWTH_BYTES) pause = 1;
  };
  const timer = setInterval(() => {
    const resident = residentBytes();
    const busy = busyShare();
    least = Math.min(least + (resident - least) * NEEDED_SHARE, resident);
    if (resident - least < GROWTH_BYTES) {
      wait = 0;
      pause = 1;
      unquiet = 0;
      return;
    }
    if (wait > 0) {
      wait -= 1;
      return;
    }
    if (busy > (unquiet < QUIET_LOOKS ? QUIET_SHARE : BUSY_SHARE)) {
      unquiet += 1;
      return;
    }
    unquiet = 0;
    wait = pause;
    pause = Math.min(2 * pause, LOOKS_MAX);
    collect();
    // What was freed is free after this turn. The next look comes whatever becomes of this one.
    setImmediate(() => void giveBack().then(gaveBack, () => undefined));
  }, everyMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

/** malloc_trim(3) on a thread of libuv's pool; undefined where the C library has none (musl). */
export function mallocTrim(): (() => Promise<void>) | undefined {
  let trim: ReturnType<ReturnType<typeof koffi.load>['func']>;
  try {
    // The program itself, and so the C library that it runs on.
    trim = koffi.load(null).func('malloc_trim', 'int', ['size_t']);
  } catch {
    return undefined;
  }
  return () =>
    new Promise((resolve, reject) => {
      trim.async(0, (error: Error | null) => (error ? reject(error) : resolve()));
    });
}
