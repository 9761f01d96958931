// SPDX-License-Identifier: Apache-2.0
/** What the command palette offers, and in which order for what was typed. */
import type { FleetState } from '@marcher/client/fleet';
import { fuzzyScore } from '../state/filter.js';
import { PAGE_TITLES, PAGES, type Page, type Route } from '../state/routes.js';

export type Command =
  | { readonly kind: 'go'; readonly title: string; readonly to: Pick<Route, 'page' | 'name'> }
  | { readonly kind: 'act'; readonly title: string; readonly act: 'theme' | 'lock' | 'pause' | 'account' }
  | { readonly kind: 'do'; readonly title: string; readonly run: () => void };

const SHOWN_MAX = 12;

export function commands(state: FleetState, pages: readonly Page[] = PAGES): readonly Command[] {
  return [
    ...pages.map((page): Command => ({ kind: 'go', title: PAGE_TITLES[page], to: { page, name: undefined } })),
    { kind: 'act', title: 'Unlock or lock changes', act: 'lock' },
    { kind: 'act', title: 'Change between dark and light', act: 'theme' },
    { kind: 'act', title: 'Pause or go on', act: 'pause' },
    { kind: 'act', title: 'Account: who I am, log in, log out', act: 'account' },
    ...[...state.nodes.values()].map(
      ({ key, name }): Command => ({ kind: 'go', title: `Proxy ${name}`, to: { page: 'proxies', name: key } }),
    ),
    ...[...state.services.keys()].map(
      (name): Command => ({ kind: 'go', title: `Service ${name}`, to: { page: 'services', name } }),
    ),
    ...[...state.objects.values()].map(
      ({ kind, name }): Command =>
        kind === 'Guard'
          ? { kind: 'go', title: `Guard ${name}`, to: { page: 'guards', name } }
          : { kind: 'go', title: `Traffic policy ${name}`, to: { page: 'shaping', name } },
    ),
  ];
}

/** The best first; nothing typed: as they are. */
export function ranked(all: readonly Command[], typed: string): readonly Command[] {
  const wanted = typed.trim();
  if (wanted === '') return all.slice(0, SHOWN_MAX);
  const scored = all.flatMap((command) => {
    const score = fuzzyScore(wanted, command.title);
    return score === undefined ? [] : [{ command, score }];
  });
  scored.sort((a, b) => a.score - b.score);
  return scored.slice(0, SHOWN_MAX).map(({ command }) => command);
}
