// SPDX-License-Identifier: Apache-2.0
/** Terminals of this machine: the terminal console of the mesh, and shells whose `marcher` is for it. */
import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { useConsole } from '../../state/console.js';
import { said } from '../../text/said.js';
import type { Desktop } from '../desktop.js';
import { terminalColours } from './colours.js';
import { type TerminalKind, TerminalTabs } from './terminal-tabs.js';
import './terminal.css';

const READER_KEY = 'marcher-screen-reader';
/** As many as the main process has for one window. */
const TABS_MAX = 16;
let kept: { readonly tabs: TerminalTabs; readonly of: Desktop['bridge'] } | undefined;

/** They outlive the page, not the window. */
function tabsOf({ bridge, shown }: Desktop): TerminalTabs {
  if (kept?.of !== bridge) kept = { tabs: new TerminalTabs(bridge, shown), of: bridge };
  return kept.tabs;
}

export function TerminalPage({ desktop }: { readonly desktop: Desktop }): ReactNode {
  const { theme } = useConsole();
  const [terminals] = useState(() => tabsOf(desktop));
  const tabs = useSyncExternalStore(terminals.subscribe, () => terminals.tabs);
  const [chosen, setChosen] = useState<number | undefined>(() => terminals.tabs.at(-1)?.key);
  const [isRead, setRead] = useState(() => localStorage.getItem(READER_KEY) === 'yes');
  const place = useRef<HTMLDivElement>(null);
  const tab = tabs.find(({ key }) => key === chosen);

  // biome-ignore lint/correctness/useExhaustiveDependencies: those that are there then
  useEffect(() => {
    terminals.set({
      theme: terminalColours(theme, getComputedStyle(document.documentElement)),
      screenReaderMode: isRead,
    });
  }, [terminals, theme, isRead, tabs.length]);
  useEffect(() => {
    if (chosen === undefined || place.current === null) return;
    return terminals.show(chosen, place.current);
  }, [terminals, chosen]);

  const open = (kind: TerminalKind): void => setChosen(terminals.add(kind));
  const close = (key: number): void => {
    terminals.close(key);
    setChosen(terminals.tabs.at(-1)?.key);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const at = tabs.findIndex(({ key }) => key === chosen);
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    const next = tabs[(at + step + tabs.length) % tabs.length];
    if (step === 0 || next === undefined) return;
    event.preventDefault();
    setChosen(next.key);
  };
  return (
    <>
      <header className="page-head">
        <h1>Terminal</h1>
        <span className="note">
          of this machine, for {desktop.shown === 'local' ? 'its own agent' : `mesh ${said(desktop.shown)}`}
        </span>
        <label>
          <input
            type="checkbox"
            checked={isRead}
            onChange={(event) => {
              localStorage.setItem(READER_KEY, event.target.checked ? 'yes' : 'no');
              setRead(event.target.checked);
            }}
          />{' '}
          For a screen reader
        </label>
        <button type="button" disabled={tabs.length >= TABS_MAX} onClick={() => open('console')}>
          New console
        </button>
        <button type="button" disabled={tabs.length >= TABS_MAX} onClick={() => open('shell')}>
          New shell
        </button>
      </header>
      {tabs.length > 0 && (
        <div className="terminal-tabs">
          <div role="tablist" aria-label="Terminals" tabIndex={-1} onKeyDown={onKeyDown}>
            {tabs.map(({ key, title, state }) => (
              <button
                key={key}
                type="button"
                role="tab"
                id={`terminal-${key}`}
                aria-selected={key === chosen}
                aria-controls="terminal-place"
                tabIndex={key === chosen ? 0 : -1}
                onClick={() => setChosen(key)}
              >
                {title}
                {(state === 'ended' || state === 'failed') && ' (ended)'}
              </button>
            ))}
          </div>
          {tab !== undefined && (
            <button type="button" className="quiet" onClick={() => close(tab.key)}>
              Close {tab.title}
            </button>
          )}
        </div>
      )}
      {tab === undefined ? (
        <p>
          No terminal is open. A console shows the mesh as <code>marcher</code> does; a shell is yours, and its{' '}
          <code>marcher</code> is for this mesh.
        </p>
      ) : (
        tab.said !== '' && <p role={tab.state === 'failed' ? 'alert' : 'status'}>{said(tab.said)}</p>
      )}
      <div
        id="terminal-place"
        ref={place}
        className="terminal-place"
        role="tabpanel"
        hidden={tab === undefined}
        aria-labelledby={tab === undefined ? undefined : `terminal-${tab.key}`}
      />
      {tab !== undefined && (
        <p className="note">
          Ctrl-Shift-C copies what is selected, Ctrl-Shift-V pastes, Ctrl-Shift-K leads out. All other keys, Tab too,
          are the program's.
        </p>
      )}
    </>
  );
}
