// SPDX-License-Identifier: Apache-2.0
import { toJson } from '@bufbuild/protobuf';
import { type LogEntry, LogEntrySchema, LogKind } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { bytes, clock, microseconds, timeMs } from '../output/quantity.js';
import { printable, type Style } from '../output/style.js';
import { type Session, type TargetOptions, unlessInterrupted, wholeNumber } from '../session.js';

interface LogsOptions extends TargetOptions {
  readonly follow?: boolean;
  readonly tail: string;
  readonly output: 'text' | 'json';
}

export async function logs(session: Session, options: LogsOptions, service?: string): Promise<undefined> {
  const tail = wholeNumber(options.tail, '--tail', 1, 10_000);
  const agent = await session.agent(options);
  const signal = session.interrupted;
  const query = { service: service ?? '', follow: options.follow === true, tail };
  try {
    for await (const { entry, dropped } of agent.traffic.logs(query, { signal })) {
      if (dropped > 0n) process.stderr.write(`… ${dropped} entries were lost: they came faster than they were read\n`);
      if (entry === undefined) continue;
      await session.write(
        options.output === 'json'
          ? `${JSON.stringify(toJson(LogEntrySchema, entry))}\n`
          : formatEntry(entry, session.style),
      );
    }
  } catch (error) {
    unlessInterrupted(error, signal);
  }
}

/** CONNECTION_CLOSED -> "closed" */
const names: Readonly<Record<LogKind, string>> = {
  [LogKind.UNSPECIFIED]: 'event',
  [LogKind.CONNECTION_OPENED]: 'opened',
  [LogKind.CONNECTION_CLOSED]: 'closed',
  [LogKind.HEALTH_CHANGED]: 'health',
  [LogKind.LISTENER_CHANGED]: 'listener',
  [LogKind.BACKEND_EJECTED]: 'ejected',
  [LogKind.DNS_CHANGED]: 'dns',
  [LogKind.ENGINE]: 'engine',
};

export function formatEntry(entry: LogEntry, style: Style): string {
  const time = style.dim(clock(timeMs(entry.time), 'milliseconds'));
  const kind = (names[entry.kind] ?? 'event').padEnd(8);
  const parts: string[] = [];
  const subject = [entry.service, entry.backend].filter((part) => part !== '').join('/');
  if (subject !== '') parts.push(printable(subject));
  if (entry.client !== '') {
    const upstream = entry.upstream === '' ? '' : ` > ${printable(entry.upstream)}`;
    parts.push(`${entry.transport ? `${entry.transport} ` : ''}${printable(entry.client)}${upstream}`);
  }
  if (entry.kind === LogKind.CONNECTION_CLOSED) {
    parts.push(
      `${microseconds(Number(entry.durationUs))} in=${bytes(entry.bytesReceived)} out=${bytes(entry.bytesSent)}`,
    );
    if (entry.connectUs > 0n) parts.push(`connect=${microseconds(Number(entry.connectUs))}`);
    if (entry.retries > 0) parts.push(`retries=${entry.retries}`);
  }
  if (entry.reason !== '') {
    const usual = entry.reason === 'closed' || entry.reason === 'healthy' || entry.reason === 'bound';
    parts.push(usual ? printable(entry.reason) : style.yellow(printable(entry.reason)));
  }
  if (entry.message !== '') parts.push(printable(entry.message));
  return `${time} ${kind} ${parts.join('  ')}\n`;
}
