// SPDX-License-Identifier: Apache-2.0
/** Ctrl-K: every page, node and service by some of its letters. */
import { type KeyboardEvent, type ReactNode, useId, useMemo, useState } from 'react';
import { useDesktop } from '../desktop/desktop.js';
import { desktopCommands } from '../desktop/desktop-commands.js';
import { navigate, useConsole, useFleet } from '../state/console.js';
import { offeredPages } from '../state/routes.js';
import { said } from '../text/said.js';
import { Dialog } from './dialog.js';
import { type Command, commands, ranked } from './palette-commands.js';

interface PaletteProps {
  readonly onClose: () => void;
  readonly openAccount: () => void;
}

export function Palette({ onClose, openAccount }: PaletteProps): ReactNode {
  const { fleet, theme, setTheme, unlocked, setUnlocked } = useConsole();
  const state = useFleet();
  const [typed, setTyped] = useState('');
  const [at, setAt] = useState(0);
  const id = useId();
  // What there was when it opened: the list does not move under the hand.
  const desktop = useDesktop();
  const [all] = useState(() => [...commands(state, offeredPages(desktop !== undefined)), ...desktopCommands(desktop)]);
  const shown = useMemo(() => ranked(all, typed), [all, typed]);

  const run = (command: Command | undefined): void => {
    if (command === undefined) return;
    onClose();
    if (command.kind === 'go') navigate(command.to);
    else if (command.kind === 'do') command.run();
    else if (command.act === 'theme') setTheme(theme === 'dark' ? 'light' : 'dark');
    else if (command.act === 'lock') setUnlocked(!unlocked);
    else if (command.act === 'account') openAccount();
    else if (fleet.state.paused) fleet.resume();
    else fleet.pause();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'ArrowDown') setAt(Math.min(shown.length - 1, at + 1));
    else if (event.key === 'ArrowUp') setAt(Math.max(0, at - 1));
    else if (event.key === 'Enter') run(shown[at]);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog title="Go to, or do" onClose={onClose}>
      <input
        className="palette-input"
        role="combobox"
        aria-label="Page, proxy, service or command"
        aria-expanded="true"
        aria-controls={id}
        aria-activedescendant={shown.length === 0 ? undefined : `${id}-${at}`}
        autoFocus
        value={typed}
        maxLength={100}
        onChange={(event) => {
          setTyped(event.target.value);
          setAt(0);
        }}
        onKeyDown={onKeyDown}
      />
      <div role="listbox" id={id} aria-label="Found" className="palette-list" tabIndex={-1}>
        {shown.map((command, i) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: keys are the input's
          <div
            key={command.title}
            role="option"
            id={`${id}-${i}`}
            aria-selected={i === at}
            tabIndex={-1}
            onClick={() => run(command)}
          >
            {said(command.title)}
          </div>
        ))}
      </div>
      {shown.length === 0 && <p className="note">Nothing has these letters in this order.</p>}
    </Dialog>
  );
}
