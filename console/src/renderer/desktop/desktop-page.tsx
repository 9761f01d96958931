// SPDX-License-Identifier: Apache-2.0
/** The pages that take the desktop app. They come with their parts when they are first shown; in a browser there is a word instead. */
import { lazy, type ReactNode, Suspense } from 'react';
import { PAGE_TITLES, type Page } from '../state/routes.js';
import { useDesktop } from './desktop.js';

const TerminalPage = lazy(async () => ({ default: (await import('./terminal/terminal-page.js')).TerminalPage }));
const SetupPage = lazy(async () => ({ default: (await import('./setup/setup-page.js')).SetupPage }));

const INSTEAD: Readonly<Partial<Record<Page, string>>> = {
  terminal: 'In a terminal of yours, marcher without a subcommand opens the console of the same mesh.',
  setup: 'On the command line, marcher target add and marcher mesh token do the same: docs/mesh.md says how.',
};

export function DesktopPage({ page }: { readonly page: 'terminal' | 'setup' }): ReactNode {
  const desktop = useDesktop();
  if (desktop === undefined) {
    return (
      <>
        <h1>{PAGE_TITLES[page]}</h1>
        <p>This page is of the desktop app: a browser has no programs of this machine. {INSTEAD[page]}</p>
      </>
    );
  }
  return (
    <Suspense fallback={<p aria-busy="true">Loading…</p>}>
      {page === 'terminal' ? <TerminalPage desktop={desktop} /> : <SetupPage desktop={desktop} />}
    </Suspense>
  );
}
