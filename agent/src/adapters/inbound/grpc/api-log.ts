// SPDX-License-Identifier: Apache-2.0
/** What the API servers log to; pino's loggers fit. Fields first, then the sentence. */
export interface ApiLogger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
