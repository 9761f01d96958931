// SPDX-License-Identifier: Apache-2.0
/** The agent's log: one JSON object per line on stderr. Nothing secret is ever put into a field. */
import pino from 'pino';
import type { LogLevel } from './config.js';

export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  flush(): void;
}

export function createLog(level: LogLevel, node: string): Log {
  // Synchronous: the last lines before an end are those that matter, and there are few lines.
  const logger = pino(
    {
      level,
      base: { node },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { version: (value: unknown) => (typeof value === 'bigint' ? Number(value) : value) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    flush: () => logger.flush(),
  };
}
