// SPDX-License-Identifier: Apache-2.0
/**
 * How many times slower than a real machine this one is: E2E_PACE, which scripts/test-kernels sets where processors are
 * emulated. There, what a case waits for may take so many times as long. Work is slower than that: a request takes 40 times
 * what a real processor needs for it, so loads send fewer still, and who needs a number of them waits for the number.
 */
const said = process.env['E2E_PACE'] ?? '1';
export const PACE = Number(said);
if (!(PACE >= 1 && PACE <= 100)) throw new Error(`E2E_PACE is '${said}'; expected a number from 1 to 100`);

/** Requests per second of a load that sends so many on a real machine. */
export const pacedRate = (rate: number): number => (PACE === 1 ? rate : rate / (5 * PACE));
