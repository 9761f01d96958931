// SPDX-License-Identifier: Apache-2.0
/** Counters of a simulated node: functions of time, so that whoever asks has the same answer. */
import { create } from '@bufbuild/protobuf';
import { type Counters, CountersSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';

/** What one service has carried until a rate was set, and the rate since then. */
interface Course {
  readonly sinceMs: number;
  readonly opened: number;
  readonly perSecond: number;
  readonly failing: number;
  readonly failed: number;
}

const STILL: Course = { sinceMs: 0, opened: 0, perSecond: 0, failing: 0, failed: 0 };
/** Per connection. */
const BYTES_RECEIVED = 800;
const BYTES_SENT = 12_000;
/** How long a connection is open. */
const OPEN_SECONDS = 2;

export class SimulatedTraffic {
  readonly #courses = new Map<string, Course>();

  /** Services that have connections. */
  moving(): Iterable<string> {
    return this.#courses.keys();
  }

  /** failing: the share of connections that no backend takes. */
  setRate(service: string, perSecond: number, nowMs: number, failing = 0): void {
    const { opened, failed } = this.#totals(service, nowMs);
    this.#courses.set(service, { sinceMs: nowMs, opened, failed, perSecond, failing });
  }

  /** The engine begins anew: totals count from zero. */
  restart(nowMs: number): void {
    for (const [service, course] of this.#courses) {
      this.#courses.set(service, { ...course, sinceMs: nowMs, opened: 0, failed: 0 });
    }
  }

  forget(service: string): void {
    this.#courses.delete(service);
  }

  open(service: string, nowMs: number): number {
    const { perSecond, sinceMs } = this.#courses.get(service) ?? STILL;
    if (perSecond === 0) return 0;
    const wave = 1 + 0.5 * Math.sin((nowMs - sinceMs) / 7_000);
    return Math.min(this.#totals(service, nowMs).opened, Math.ceil(perSecond * OPEN_SECONDS * wave));
  }

  counters(service: string, nowMs: number): Counters {
    const { opened, failed } = this.#totals(service, nowMs);
    return create(CountersSchema, {
      connectionsOpened: BigInt(opened),
      connectionsClosed: BigInt(opened - this.open(service, nowMs)),
      bytesReceived: BigInt(opened * BYTES_RECEIVED),
      bytesSent: BigInt(opened * BYTES_SENT),
      noBackend: BigInt(failed),
      ...connectTimes(service, opened),
    });
  }

  #totals(service: string, nowMs: number): { readonly opened: number; readonly failed: number } {
    const course = this.#courses.get(service) ?? STILL;
    const came = Math.floor((course.perSecond * Math.max(0, nowMs - course.sinceMs)) / 1_000);
    return {
      opened: course.opened + Math.round(came * (1 - course.failing)),
      failed: course.failed + Math.round(came * course.failing),
    };
  }
}

/** Around a time that each service has of its own: most within two buckets, one in sixteen much later. */
function connectTimes(service: string, opened: number): Pick<Counters, 'connectTimeUs' | 'connectTimeUsSum'> {
  const middle = 7 + ([...service].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 5);
  const late = Math.floor(opened / 16);
  const connectTimeUs = Array.from({ length: 24 }, () => 0n);
  connectTimeUs[middle] = BigInt(Math.ceil((opened - late) / 2));
  connectTimeUs[middle + 1] = BigInt(Math.floor((opened - late) / 2));
  connectTimeUs[middle + 5] = BigInt(late);
  return { connectTimeUs, connectTimeUsSum: BigInt(opened) << BigInt(middle) };
}
