// SPDX-License-Identifier: Apache-2.0
/**
 * @peculiar/x509 finds its algorithms by tsyringe, which refuses to load without the reflect-metadata proposal. Neither
 * uses it: no class that is registered there takes parameters. So nothing is stored and nothing is found.
 */
const none = { getMetadata: () => undefined, getOwnMetadata: () => undefined, defineMetadata: () => undefined };

for (const [name, value] of Object.entries(none)) {
  if (!(name in Reflect)) Object.defineProperty(Reflect, name, { value, configurable: true, writable: true });
}
