// SPDX-License-Identifier: Apache-2.0
/** What is around every page: where one can go, which mesh this is, how much of it has answered, and what is allowed. */
import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from 'react';
import { useDesktop } from '../desktop/desktop.js';
import { MeshSwitch } from '../desktop/mesh-switch.js';
import { useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute, offeredPages, PAGE_TITLES, placeOf } from '../state/routes.js';
import { coverageSentence, isPartial, meshTitle } from '../text/coverage.js';
import { said } from '../text/said.js';
import { Badge } from './badge.js';
import { Icon } from './icon.js';
import { Palette } from './palette.js';
import { UnlockDialog } from './unlock-dialog.js';

const AccountDialog = lazy(async () => ({
  default: (await import('../account/account-dialog.js')).AccountDialog,
}));
const SessionPart = lazy(async () => ({
  default: (await import('../desktop/session/session-part.js')).SessionPart,
}));

export function Shell({ children }: { readonly children: ReactNode }): ReactNode {
  const { route, notice } = useConsole();
  const desktop = useDesktop();
  const [palette, setPalette] = useState(false);
  const [account, setAccount] = useState(false);
  const filter = useRef<HTMLInputElement>(null);
  const main = useRef<HTMLElement>(null);

  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent): void => {
      const typing = event.target instanceof Element && event.target.closest('input,textarea,select,dialog') !== null;
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') setPalette((open) => !open);
      else if (event.key === '/' && !typing) filter.current?.focus();
      else return;
      event.preventDefault();
    };
    addEventListener('keydown', onKeyDown);
    return () => removeEventListener('keydown', onKeyDown);
  }, []);
  // What came before were words that it is being loaded: browsers' tools, and the benchmark, tell from here how long it took.
  useEffect(() => void performance.mark('shell'), []);
  const { page, name } = route;
  const title = name === undefined ? PAGE_TITLES[page] : `${said(name)} – ${PAGE_TITLES[page]}`;
  useEffect(() => {
    document.title = `${title} – Marcher`;
  }, [title]);

  return (
    <div className="shell">
      {/* biome-ignore lint/a11y/useValidAnchor: it leads to a place of this page, as a link does */}
      <a
        className="skip"
        href="#main"
        onClick={(event) => {
          // The address says which page it is.
          event.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the page
      </a>
      <nav className="side" aria-label="Pages">
        <div className="brand">
          <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
            <path d="M3 21V5l9 7 9-7v16h-4v-8l-5 4-5-4v8z" />
          </svg>
          <span className="side-word">Marcher</span>
        </div>
        <ul>
          {offeredPages(desktop !== undefined).map((each) => (
            <li key={each}>
              <a
                href={formatRoute({ page: each })}
                title={PAGE_TITLES[each]}
                aria-current={each === page ? 'page' : undefined}
              >
                <Icon page={each} />
                <span className="side-word">{PAGE_TITLES[each]}</span>
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div className="body">
        <TopBar filter={filter} openPalette={() => setPalette(true)} openAccount={() => setAccount(true)} />
        <Suspense fallback={null}>
          {desktop !== undefined && (
            <SessionPart desktop={desktop} isAccountOpen={account} closeAccount={() => setAccount(false)} />
          )}
          {desktop === undefined && account && <AccountDialog onClose={() => setAccount(false)} />}
        </Suspense>
        <CoverageBanner />
        <main id="main" ref={main} tabIndex={-1} key={placeOf(route)}>
          {children}
        </main>
      </div>
      <div role="status" className="notice" data-shown={notice !== ''}>
        {notice}
      </div>
      {palette && <Palette onClose={() => setPalette(false)} openAccount={() => setAccount(true)} />}
    </div>
  );
}

interface TopBarProps {
  readonly filter: React.RefObject<HTMLInputElement | null>;
  readonly openPalette: () => void;
  readonly openAccount: () => void;
}

function TopBar({ filter, openPalette, openAccount }: TopBarProps): ReactNode {
  const { fleet, route, theme, setTheme, setFilter, unlocked, setUnlocked } = useConsole();
  const { mesh, coverage, atMs, paused } = useFleet();
  const [unlocking, setUnlocking] = useState(false);
  const { note } = parseFilter(route.filter);
  return (
    <header className="top">
      <div className="mesh-name">
        <MeshSwitch />
        <strong>{meshTitle(mesh, coverage)}</strong>
        <Badge tone={isPartial(coverage) ? 'warn' : 'good'}>{coverageSentence(coverage, atMs)}</Badge>
      </div>
      <search>
        <label>
          <span className="unseen">Filter</span>
          <input
            ref={filter}
            type="search"
            placeholder="Filter: regex, !not, -f fuzzy   ( / )"
            value={route.filter}
            maxLength={200}
            aria-description={note}
            data-noted={note !== undefined}
            title={note}
            onChange={(event) => setFilter(event.target.value)}
          />
        </label>
      </search>
      <button type="button" onClick={openPalette} aria-keyshortcuts="Control+K">
        Go to… <kbd>Ctrl K</kbd>
      </button>
      <button type="button" aria-pressed={paused} onClick={() => (paused ? fleet.resume() : fleet.pause())}>
        {paused ? 'Go on' : 'Pause'}
      </button>
      <button
        type="button"
        className={unlocked ? 'unlocked' : ''}
        onClick={() => (unlocked ? setUnlocked(false) : setUnlocking(true))}
      >
        {unlocked ? 'Lock changes' : 'Read-only: unlock'}
      </button>
      <button type="button" onClick={() => setTheme(theme === 'dark' ? 'light' : 'dark')}>
        {theme === 'dark' ? 'Light' : 'Dark'}
      </button>
      <button type="button" onClick={openAccount}>
        Account
      </button>
      {unlocking && <UnlockDialog onClose={() => setUnlocking(false)} />}
    </header>
  );
}

/** Says what is not known, on every page; nothing where all is. */
function CoverageBanner(): ReactNode {
  const { fleet } = useConsole();
  const { coverage, atMs, nodes, paused } = useFleet();
  const [now, setNow] = useState(atMs);
  useEffect(() => {
    setNow(Math.max(atMs, Date.now()));
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [atMs]);
  const lost = [...nodes.values()].filter(({ link }) => link.kind === 'stale' || link.kind === 'refused');
  if (!paused && lost.length === 0) return null;
  return (
    <section className="banner" aria-label="What is not known">
      {paused && <p>Paused: what is shown stands still.</p>}
      {lost.length > 0 && (
        <p>
          <strong>{coverageSentence(coverage, now)}.</strong> Shown as they were:{' '}
          {lost.slice(0, 5).map(({ key, name, link }) => (
            <span key={key} className="banner-node">
              <a href={formatRoute({ page: 'proxies', name: key })}>{said(name)}</a>
              {'reason' in link && <> ({said(link.reason).slice(0, 160)})</>}
              <button
                type="button"
                className="quiet"
                onClick={() => fleet.retry(key)}
                aria-label={`try now: ${said(name)}`}
              >
                try now
              </button>
            </span>
          ))}
          {lost.length > 5 && ` and ${lost.length - 5} more`}
        </p>
      )}
    </section>
  );
}
