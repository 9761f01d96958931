// SPDX-License-Identifier: Apache-2.0
/**
 * Load on a port: N clients that send and await an answer of as many bytes, as fast as answers come or at a fixed rate.
 *
 * At a fixed rate the latency of a request counts from when it was due, not from when a busy client got to it, so that a
 * stall is seen in full ("coordinated omission").
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ExitCode } from '../exit-code.js';
import { usage } from '../failure.js';
import { bytes, microseconds, rate } from '../output/quantity.js';
import { positiveSeconds, type Session, wholeNumber } from '../session.js';
import { type Endpoint, errorWord, type ProtocolOptions, resolveEndpoint } from './endpoint.js';
import { LatencyHistogram } from './latency-histogram.js';

interface SimulateOptions extends ProtocolOptions {
  readonly connections: string;
  readonly duration: string;
  readonly rate?: string;
  readonly size: string;
  readonly mode: 'request' | 'connect';
  readonly wait: string;
  readonly maxErrors: string;
  readonly output: 'text' | 'json';
}

/** A conversation with the port that can be asked again and again. */
interface Client {
  /** Sends one request; resolves when as many bytes have come back. */
  ask(): Promise<void>;
  close(): void;
}

const udpPayloadMax = 65_507;

export async function simulate(session: Session, options: SimulateOptions, text: string): Promise<ExitCode> {
  const clients = wholeNumber(options.connections, '--connections', 1, 60_000);
  const durationMs = positiveSeconds(options.duration, '--duration') * 1000;
  const perSecond = options.rate === undefined ? undefined : wholeNumber(options.rate, '--rate', 1, 10_000_000);
  const size = wholeNumber(options.size, '--size', 1, options.udp ? udpPayloadMax : 64 << 20);
  const waitMs = positiveSeconds(options.wait, '--wait') * 1000;
  const maxErrors = Number(options.maxErrors);
  if (!(maxErrors >= 0 && maxErrors <= 100)) throw usage(`--max-errors is "${options.maxErrors}": expected 0 to 100`);
  const endpoint = await resolveEndpoint(text, options);
  const payload = Buffer.alloc(size, 'marcher ');
  const stop = session.interrupted;

  const latencies = new LatencyHistogram();
  const connects = new LatencyHistogram();
  const errors = new Map<string, number>();
  let answered = 0;
  let failed = 0;
  const started = performance.now();
  const end = started + durationMs;
  const running = (): boolean => performance.now() < end && !stop.aborted;
  const open = async (): Promise<Client> => {
    const from = performance.now();
    const client =
      endpoint.transport === 'tcp'
        ? await openTcp(endpoint, payload, waitMs)
        : await openUdp(endpoint, payload, waitMs);
    connects.add((performance.now() - from) * 1000);
    return client;
  };

  const run = async (index: number): Promise<void> => {
    let client: Client | undefined;
    const intervalMs = perSecond === undefined ? 0 : (1000 * clients) / perSecond;
    // Clients are spread over the first interval.
    let due = started + (intervalMs * index) / clients;
    while (running()) {
      if (intervalMs > 0) {
        const rest = due - performance.now();
        if (rest > 0)
          await sleep(Math.min(rest, end - performance.now() + 1), undefined, { signal: stop }).catch(() => undefined);
        if (!running()) break;
      }
      // A timer may ring a little early: then the request is not due, but sent.
      const from = intervalMs > 0 ? Math.min(due, performance.now()) : performance.now();
      try {
        client ??= await open();
        await client.ask();
        latencies.add((performance.now() - from) * 1000);
        answered++;
      } catch (error) {
        failed++;
        const word = errorWord(error);
        errors.set(word, (errors.get(word) ?? 0) + 1);
        client?.close();
        client = undefined;
        // Somebody who refuses at once is not to be asked a million times a second.
        await sleep(10, undefined, { signal: stop }).catch(() => undefined);
      }
      if (options.mode === 'connect') {
        client?.close();
        client = undefined;
      }
      due += intervalMs;
    }
    client?.close();
  };

  const progress = startProgress(started, durationMs, () => ({ answered, failed }));
  await Promise.all(Array.from({ length: clients }, (_, index) => run(index)));
  progress.stop();

  const seconds = (performance.now() - started) / 1000;
  const total = answered + failed;
  const errorPercent = total === 0 ? 100 : (failed / total) * 100;
  const passed = total > 0 && errorPercent <= maxErrors;
  const quantiles = { p50: 0.5, p90: 0.9, p99: 0.99, p999: 0.999 };
  const latency = Object.fromEntries(
    Object.entries(quantiles).map(([name, share]) => [name, latencies.quantile(share)]),
  );
  if (options.output === 'json') {
    const result = {
      target: endpoint.text,
      transport: endpoint.transport,
      mode: options.mode,
      connections: clients,
      sizeBytes: size,
      seconds: Math.round(seconds * 1000) / 1000,
      answered,
      failed,
      errors: Object.fromEntries(errors),
      requestsPerSecond: Math.round((answered / seconds) * 10) / 10,
      bytesPerSecond: Math.round((answered * size * 2) / seconds),
      connects: { count: connects.count, p50Us: connects.quantile(0.5), p99Us: connects.quantile(0.99) },
      latencyUs: {
        min: latencies.count === 0 ? 0 : latencies.min,
        mean: Math.round(latencies.mean()),
        ...latency,
        max: latencies.max,
      },
      passed,
    };
    await session.write(`${JSON.stringify(result, null, 2)}\n`);
    return passed ? ExitCode.ok : ExitCode.testFailed;
  }
  const { style } = session;
  await session.write(
    `${endpoint.transport} ${endpoint.text}, ${clients} ${options.mode === 'connect' ? 'clients connecting anew' : 'connections'}, ` +
      `${bytes(size)} a request, ${seconds.toFixed(1)}s\n` +
      `  answered  ${answered} (${rate(answered / seconds)}/s, ${bytes((answered * size * 2) / seconds)}/s both ways)\n` +
      `  failed    ${failed === 0 ? '0' : style.red(`${failed} (${errorPercent.toFixed(2)}%)`)}\n` +
      [...errors].map(([word, count]) => `            ${count} × ${word}\n`).join('') +
      `  connect   ${connects.count} × p50 ${microseconds(connects.quantile(0.5))}, p99 ${microseconds(connects.quantile(0.99))}\n` +
      `  latency   min ${microseconds(latencies.count === 0 ? 0 : latencies.min)}, ` +
      Object.entries(latency)
        .map(([name, us]) => `${name === 'p999' ? 'p99.9' : name} ${microseconds(us)}`)
        .join(', ') +
      `, max ${microseconds(latencies.max)}\n`,
  );
  if (!passed) await session.write(`${style.red('FAIL')}: more than ${maxErrors}% failed\n`);
  return passed ? ExitCode.ok : ExitCode.testFailed;
}

function startProgress(
  started: number,
  durationMs: number,
  now: () => { answered: number; failed: number },
): { stop(): void } {
  if (!process.stderr.isTTY) return { stop: () => undefined };
  let last = { answered: 0, at: started };
  const timer = setInterval(() => {
    const at = performance.now();
    const { answered, failed } = now();
    const speed = (answered - last.answered) / ((at - last.at) / 1000);
    last = { answered, at };
    const percent = Math.min(100, Math.round(((at - started) / durationMs) * 100));
    process.stderr.write(`\r\u001b[K${percent}%  ${rate(speed)}/s  ${answered} answered  ${failed} failed`);
  }, 500);
  return {
    stop() {
      clearInterval(timer);
      process.stderr.write('\r\u001b[K');
    },
  };
}

/** The request that a client awaits: settled by its answer, its connection's end, or its time. */
class Pending {
  private resolve: (() => void) | undefined;
  private reject: ((error: unknown) => void) | undefined;
  private timer: NodeJS.Timeout | undefined;

  wait(ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      this.timer = setTimeout(() => this.fail(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })), ms);
    });
  }

  done(): void {
    clearTimeout(this.timer);
    this.resolve?.();
    this.resolve = this.reject = undefined;
  }

  fail(error: unknown): void {
    clearTimeout(this.timer);
    this.reject?.(error);
    this.resolve = this.reject = undefined;
  }
}

async function openTcp(endpoint: Endpoint, payload: Buffer, waitMs: number): Promise<Client> {
  const pending = new Pending();
  const socket: Socket = connect({
    host: endpoint.address,
    port: endpoint.port,
    family: endpoint.family,
    noDelay: true,
  });
  let missing = 0;
  let broken: unknown;
  const fail = (error: unknown): void => {
    broken ??= error;
    pending.fail(broken);
  };
  socket.on('connect', () => pending.done());
  socket.on('data', (chunk) => {
    missing -= chunk.length;
    if (missing <= 0) pending.done();
  });
  socket.on('error', fail);
  socket.on('close', () => fail(Object.assign(new Error('closed'), { code: 'closed' })));
  try {
    await pending.wait(waitMs);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return {
    ask() {
      if (broken !== undefined) return Promise.reject(broken);
      missing = payload.length;
      const answer = pending.wait(waitMs);
      socket.write(payload);
      return answer;
    },
    close: () => socket.destroy(),
  };
}

async function openUdp(endpoint: Endpoint, payload: Buffer, waitMs: number): Promise<Client> {
  const pending = new Pending();
  const socket: UdpSocket = createSocket(endpoint.family === 6 ? 'udp6' : 'udp4');
  let closed = false;
  // A number in each datagram, so that an answer that comes too late is not taken for the next one's.
  const datagram = Buffer.from(payload);
  const numbered = datagram.length >= 4;
  let sequence = 0;
  socket.on('message', (message) => {
    if (numbered && message.length >= 4 && message.readUInt32BE(0) !== sequence) return;
    pending.done();
  });
  socket.on('error', (error) => pending.fail(error));
  const opened = pending.wait(waitMs);
  socket.connect(endpoint.port, endpoint.address, () => pending.done());
  await opened;
  return {
    ask() {
      sequence = (sequence + 1) >>> 0;
      if (numbered) datagram.writeUInt32BE(sequence, 0);
      const answer = pending.wait(waitMs);
      socket.send(datagram, (error) => {
        if (error !== null && !closed) pending.fail(error);
      });
      return answer;
    },
    close() {
      closed = true;
      socket.close();
    },
  };
}
