// SPDX-License-Identifier: Apache-2.0
/** Addresses of pages: "#/services/web?q=eu". They are kept in bookmarks and sent to others, so they keep their meaning. */
export const PAGES = [
  'dashboard',
  'services',
  'proxies',
  'connections',
  'logs',
  'latency',
  'shaping',
  'guards',
  'clusters',
  'certificates',
  'access',
  'mesh',
  'conflicts',
  'history',
  'audit',
  'terminal',
  'setup',
] as const;
export type Page = (typeof PAGES)[number];

export const PAGE_TITLES: Readonly<Record<Page, string>> = {
  dashboard: 'Dashboard',
  services: 'Services',
  proxies: 'Proxies',
  connections: 'Connections',
  logs: 'Logs',
  latency: 'Latency',
  shaping: 'Traffic Shaping',
  guards: 'Guards',
  clusters: 'Clusters',
  certificates: 'Certificates',
  access: 'Users and Keys',
  mesh: 'Mesh',
  conflicts: 'Conflicts',
  history: 'History',
  audit: 'Audit Log',
  terminal: 'Terminal',
  setup: 'Set Up',
};

/** Those that take the desktop app: in a browser they say so, and are not offered. */
const DESKTOP_PAGES: ReadonlySet<Page> = new Set(['terminal', 'setup']);

export function offeredPages(isDesktop: boolean): readonly Page[] {
  return isDesktop ? PAGES : PAGES.filter((page) => !DESKTOP_PAGES.has(page));
}

export interface Route {
  readonly page: Page;
  /** Of what the page is to show; undefined: all. */
  readonly name: string | undefined;
  readonly filter: string;
}

/** What is named is shown as a page of its own; on the others it is chosen within the page, which stays. */
const WITH_PAGES: ReadonlySet<Page> = new Set(['services', 'proxies']);

/** The same as long as the page goes on. */
export function placeOf({ page, name }: Route): string {
  return WITH_PAGES.has(page) ? `${page}/${name ?? ''}` : page;
}

const HOME: Route = { page: 'dashboard', name: undefined, filter: '' };
const NAME_MAX = 300;

/** What is not known is the dashboard. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?');
  const [page = '', encoded] = path.split('/');
  if (!isPage(page)) return HOME;
  const filter = new URLSearchParams(query).get('q') ?? '';
  return { page, name: decoded(encoded), filter: filter.slice(0, NAME_MAX) };
}

export function formatRoute({ page, name, filter = '' }: Partial<Route> & { readonly page: Page }): string {
  const path = name === undefined ? page : `${page}/${encodeURIComponent(name)}`;
  return `#/${path}${filter === '' ? '' : `?${new URLSearchParams({ q: filter })}`}`;
}

function isPage(text: string): text is Page {
  return (PAGES as readonly string[]).includes(text);
}

function decoded(text: string | undefined): string | undefined {
  if (text === undefined || text === '') return undefined;
  try {
    return decodeURIComponent(text).slice(0, NAME_MAX);
  } catch {
    return undefined;
  }
}
