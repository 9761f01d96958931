// SPDX-License-Identifier: Apache-2.0
/** Whether the program has been run to its end, with what it awaits. */
const { promise, resolve } = Promise.withResolvers<void>();

export const loaded = resolve;

export async function programLoaded(): Promise<void> {
  await promise;
}
