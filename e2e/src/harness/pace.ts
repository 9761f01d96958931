// SPDX-License-Identifier: Apache-2.0
/**
 * How many times slower than a real machine this one is: E2E_PACE, which scripts/test-kernels sets where processors are
 * emulated. There, what a case waits for may take so many times as long, and loads send so many times fewer requests per
 * second for as many times longer, so that counts stay what they are.
 */
const said = process.env['E2E_PACE'] ?? '1';
export const PACE = Number(said);
if (!(PACE >= 1 && PACE <= 100)) throw new Error(`E2E_PACE is '${said}'; expected a number from 1 to 100`);
