// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { ExitCode } from '../exit-code.js';
import { microseconds } from '../output/quantity.js';
import { positiveSeconds, type Session, wholeNumber } from '../session.js';
import { errorWord, type ProtocolOptions, parsePayload, resolveEndpoint } from './endpoint.js';
import { exchange, warmUp } from './exchange.js';
import { LatencyHistogram } from './latency-histogram.js';

interface PingOptions extends ProtocolOptions {
  readonly count: string;
  readonly interval: string;
  readonly wait: string;
  readonly payload?: string;
  readonly output: 'text' | 'json';
}

interface Attempt {
  readonly sequence: number;
  readonly ok: boolean;
  readonly connectUs?: number;
  readonly totalUs?: number;
  readonly answerBytes?: number;
  readonly error?: string;
}

export async function ping(session: Session, options: PingOptions, text: string): Promise<ExitCode> {
  const count = wholeNumber(options.count, '--count', 1, 1_000_000);
  const intervalMs = positiveSeconds(options.interval, '--interval') * 1000;
  const waitMs = positiveSeconds(options.wait, '--wait') * 1000;
  const endpoint = await resolveEndpoint(text, options);
  const payload =
    options.payload === undefined ? (options.udp ? Buffer.from('ping') : undefined) : parsePayload(options.payload);
  await warmUp(endpoint.transport);
  const signal = session.interrupted;
  const { style } = session;
  const json = options.output === 'json';
  const attempts: Attempt[] = [];
  const times = new LatencyHistogram();
  let done = 0;
  let failed = 0;
  if (!json)
    await session.write(
      `${endpoint.transport} ping ${endpoint.text}${payload === undefined ? '' : `, ${payload.length} bytes`}\n`,
    );
  for (let sequence = 1; sequence <= count && !signal.aborted; sequence++) {
    const due = performance.now() + intervalMs;
    let attempt: Attempt;
    try {
      const enough = payload === undefined ? () => true : (answer: Buffer) => answer.length > 0;
      const result = await exchange(endpoint, payload, enough, waitMs);
      attempt = {
        sequence,
        ok: true,
        ...(endpoint.transport === 'tcp' ? { connectUs: Math.round(result.connectUs) } : {}),
        totalUs: Math.round(result.totalUs),
        answerBytes: result.answer.length,
      };
      times.add(result.totalUs);
    } catch (error) {
      attempt = { sequence, ok: false, error: errorWord(error) };
      failed++;
    }
    done++;
    if (json && attempts.length < 10_000) attempts.push(attempt);
    if (!json) {
      const answered = payload === undefined ? 'connected' : `answered ${attempt.answerBytes} bytes`;
      await session.write(
        attempt.ok
          ? `seq=${sequence} ${answered} time=${microseconds(attempt.totalUs ?? 0)}\n`
          : `seq=${sequence} ${style.red(attempt.error ?? 'failed')}\n`,
      );
    }
    const rest = due - performance.now();
    if (sequence < count && rest > 0) await sleep(rest, undefined, { signal }).catch(() => undefined);
  }
  const summary = {
    target: endpoint.text,
    transport: endpoint.transport,
    sent: done,
    answered: done - failed,
    lossPercent: done === 0 ? 0 : Math.round((failed / done) * 10_000) / 100,
    ...(times.count === 0
      ? {}
      : {
          minUs: times.min,
          meanUs: Math.round(times.mean()),
          p50Us: times.quantile(0.5),
          p99Us: times.quantile(0.99),
          maxUs: times.max,
        }),
  };
  if (json) {
    await session.write(`${JSON.stringify({ ...summary, attempts }, null, 2)}\n`);
  } else {
    await session.write(`${summary.sent} sent, ${summary.answered} answered, ${summary.lossPercent}% lost\n`);
    if (times.count > 0) {
      await session.write(
        `min ${microseconds(times.min)}, mean ${microseconds(times.mean())}, p50 ${microseconds(times.quantile(0.5))}, ` +
          `p99 ${microseconds(times.quantile(0.99))}, max ${microseconds(times.max)}\n`,
      );
    }
  }
  return failed > 0 || done === 0 ? ExitCode.testFailed : ExitCode.ok;
}
