// SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module';

/** The country database that comes with the agent; '' when it was left out of the installation. */
export function embeddedCountryDatabase(): string {
  try {
    const require = createRequire(import.meta.url);
    return require.resolve('@ip-location-db/geo-whois-asn-country-mmdb/geo-whois-asn-country.mmdb');
  } catch {
    return '';
  }
}
