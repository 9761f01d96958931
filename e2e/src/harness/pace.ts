// SPDX-License-Identifier: Apache-2.0
/**
 * How many times slower than a real machine this one is: E2E_PACE, which scripts/test-kernels sets where processors are
 * emulated. There, what a case waits for may take so many times as long.
 */
const said = process.env['E2E_PACE'] ?? '1';
export const PACE = Number(said);
if (!(PACE >= 1 && PACE <= 100)) throw new Error(`E2E_PACE is '${said}'; expected a number from 1 to 100`);

/**
 * How many times seldomer than on a real machine something is done that takes a processor each time, such as requests of a
 * load: emulation makes work slower still than waiting. Who needs a number of requests waits for the number.
 */
export const SELDOMER = PACE === 1 ? 1 : 10 * PACE;
