// SPDX-License-Identifier: Apache-2.0
/** Where the parts that are not JavaScript are: beside the agent in a package, or in the tree that it was built in. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** From dist/ of the agent. */
const PLACES = ['../lib', '../../lib', '../../dataplane-c/build/src', '../../build/dataplane-c/src'];
const SYSTEM_PLACES = ['/usr/lib/marcher', '/usr/local/lib/marcher'];

function find(name: string): string | undefined {
  const beside = PLACES.map((place) => fileURLToPath(new URL(`${place}/${name}`, import.meta.url)));
  return [...beside, ...SYSTEM_PLACES.map((place) => `${place}/${name}`)].find((path) => existsSync(path));
}

export interface Installation {
  readonly enginePath: string;
  readonly libraryPath: string;
}

/** Throws when a part is missing and no flag names it. */
export function findInstallation(given: {
  readonly enginePath: string | undefined;
  readonly libraryPath: string | undefined;
}): Installation {
  const enginePath = given.enginePath ?? find('marcher-engine');
  const libraryPath = given.libraryPath ?? find('libmarcher.so');
  if (enginePath === undefined) {
    throw new Error('marcher-engine was not found beside the agent: build it (npm run setup) or name it with --engine PATH');
  }
  if (libraryPath === undefined) {
    throw new Error('libmarcher.so was not found beside the agent: build it (npm run setup) or name it with --library PATH');
  }
  return { enginePath, libraryPath };
}

/** The country database that comes with the agent; '' when it was left out of the installation. */
export function embeddedCountryDatabase(): string {
  try {
    const require = createRequire(import.meta.url);
    return require.resolve('@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb');
  } catch {
    return '';
  }
}
