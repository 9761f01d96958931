// SPDX-License-Identifier: Apache-2.0
/** Which mesh a page of the desktop shows: "?mesh=prod#/services". It stays in the address, so that a reload and a copy of it keep it. */
import { formatRoute, parseRoute } from '../state/routes.js';

export function meshOf(search: string): string | undefined {
  return new URLSearchParams(search).get('mesh') ?? undefined;
}

/** hash: of the page as it is. Of another mesh the same page is shown, but not a thing of it: there may be none of that name. */
export function addressOf(mesh: string, hash: string): string {
  return `/?${new URLSearchParams({ mesh })}${formatRoute({ page: parseRoute(hash).page })}`;
}
