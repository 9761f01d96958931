// SPDX-License-Identifier: Apache-2.0
/** That somebody has logged in: what was refused before is asked again by whoever has asked it. */
const listeners = new Set<() => void>();

export function tellLogin(): void {
  for (const listener of [...listeners]) listener();
}

/** Gives what ends it. */
export function onLogin(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}
