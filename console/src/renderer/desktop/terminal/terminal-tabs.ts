// SPDX-License-Identifier: Apache-2.0
/**
 * The terminals of the page, which go on while another page is shown. Each piece is read when the one before is on the screen, so a
 * program that says more than can be shown waits.
 *
 *   opening ──▶ open ──the program ends──▶ ended
 *      └── it can't be run ──▶ failed
 */
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import type { Bridge } from '../../../ipc/contract.js';
import { linkProvider } from './links.js';
import { openedStrictly, strictDocument, strictRows } from './strict-document.js';
import '@xterm/xterm/css/xterm.css';

export type TerminalKind = 'console' | 'shell';

export interface Tab {
  readonly key: number;
  readonly kind: TerminalKind;
  readonly title: string;
  readonly state: 'opening' | 'open' | 'ended' | 'failed';
  /** Of a program that has ended, or why there is none. */
  readonly said: string;
}

interface Held {
  tab: Tab;
  id: number | undefined;
  readonly terminal: Terminal;
  /** What it makes its elements by. */
  readonly document: Document;
  readonly fit: FitAddon;
  /** It is moved into the page that shows it. */
  readonly host: HTMLElement;
}

export type TerminalBridge = Pick<
  Bridge,
  'openTerminal' | 'readTerminal' | 'writeTerminal' | 'resizeTerminal' | 'closeTerminal' | 'openLink'
>;

const SCROLLBACK = 5_000;
/** A paste goes in pieces: writeTerminal takes no more. */
const WRITE_MAX = 32_768;
const TITLES: Readonly<Record<TerminalKind, string>> = { console: 'Console', shell: 'Shell' };

export class TerminalTabs {
  readonly #bridge: TerminalBridge;
  readonly #mesh: string;
  readonly #held: Held[] = [];
  readonly #listeners = new Set<() => void>();
  #tabs: readonly Tab[] = [];
  #last = 0;

  constructor(bridge: TerminalBridge, mesh: string) {
    this.#bridge = bridge;
    this.#mesh = mesh;
  }

  get tabs(): readonly Tab[] {
    return this.#tabs;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Its key. The program starts when it is shown, at the size that it has there. */
  add(kind: TerminalKind): number {
    const key = ++this.#last;
    const strict = strictDocument(document);
    const terminal = new Terminal({
      scrollback: SCROLLBACK,
      fontFamily: 'ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace',
      fontSize: 13,
      minimumContrastRatio: 4.5,
      documentOverride: strict,
      linkHandler: { activate: (_event, text) => this.#openLink(text) },
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.registerLinkProvider(linkProvider(terminal, (url) => this.#openLink(url)));
    terminal.attachCustomKeyEventHandler((event) => !isOfThePage(event, terminal));
    const host = document.createElement('div');
    host.className = 'terminal-host';
    const tab: Tab = { key, kind, title: `${TITLES[kind]} ${key}`, state: 'opening', said: '' };
    this.#held.push({ tab, id: undefined, terminal, document: strict, fit, host });
    this.#changed();
    return key;
  }

  /** Into that element, with the keyboard. What takes it out again is returned; it goes on without being shown. */
  show(key: number, place: HTMLElement): () => void {
    const held = this.#held.find(({ tab }) => tab.key === key);
    if (held === undefined) return () => undefined;
    const isNew = held.terminal.element === undefined;
    place.append(held.host);
    if (isNew) {
      openedStrictly(document, () => held.terminal.open(held.host));
      strictRows(held.terminal, held.document);
    }
    held.fit.fit();
    if (isNew) void this.#run(held);
    held.terminal.focus();
    const observer = new ResizeObserver(() => held.fit.fit());
    observer.observe(place);
    return () => {
      observer.disconnect();
      held.host.remove();
    };
  }

  set(options: { readonly theme?: Terminal['options']['theme']; readonly screenReaderMode?: boolean }): void {
    for (const { terminal } of this.#held) Object.assign(terminal.options, options);
  }

  close(key: number): void {
    const at = this.#held.findIndex(({ tab }) => tab.key === key);
    const [held] = at === -1 ? [] : this.#held.splice(at, 1);
    if (held === undefined) return;
    if (held.id !== undefined) void this.#bridge.closeTerminal(held.id).catch(() => undefined);
    held.terminal.dispose();
    held.host.remove();
    this.#changed();
  }

  async #run(held: Held): Promise<void> {
    const { terminal, tab } = held;
    const size = (): { columns: number; rows: number } => ({ columns: terminal.cols, rows: terminal.rows });
    const lost = (error: Error): void => this.#become(held, 'failed', error.message);
    // What is typed while it opens is for it, too.
    const opened = this.#bridge.openTerminal({ kind: tab.kind, mesh: this.#mesh, ...size() });
    let typed: Promise<unknown> = opened.catch(() => undefined);
    terminal.onData((text) => {
      for (let at = 0; at < text.length; at += WRITE_MAX) {
        const piece = text.slice(at, at + WRITE_MAX);
        typed = typed
          .then(() => (held.id === undefined ? undefined : this.#bridge.writeTerminal(held.id, piece)))
          .catch(lost);
      }
    });
    try {
      const id = await opened;
      if (!this.#held.includes(held)) {
        // It was closed while it was opened.
        await this.#bridge.closeTerminal(id);
        return;
      }
      held.id = id;
      this.#become(held, 'open', '');
      terminal.onResize(() => void this.#bridge.resizeTerminal(id, size()).catch(() => undefined));
      await this.#bridge.resizeTerminal(id, size());
      for (;;) {
        const piece = await this.#bridge.readTerminal(id);
        if ('ended' in piece) {
          this.#become(held, 'ended', piece.ended === 0 ? 'It has ended.' : `It has ended with ${piece.ended}.`);
          return;
        }
        await new Promise<void>((resolve) => terminal.write(piece.text, resolve));
      }
    } catch (error) {
      this.#become(held, 'failed', (error as Error).message);
    }
  }

  #become(held: Held, state: Tab['state'], said: string): void {
    if (held.tab.state === 'ended' || !this.#held.includes(held)) return;
    if (state !== 'open') {
      held.id = undefined;
      held.terminal.options.disableStdin = true;
    }
    held.tab = { ...held.tab, state, said };
    this.#changed();
  }

  #openLink(url: string): void {
    // What is no address of https is refused there, and nothing happens.
    void this.#bridge.openLink(url).catch(() => undefined);
  }

  #changed(): void {
    this.#tabs = this.#held.map(({ tab }) => tab);
    for (const listener of this.#listeners) listener();
  }
}

/**
 * Ctrl-Shift-C and -V, as in other terminals, or Command on a Mac: Chromium does them, without a permission, and xterm hears of it.
 * Ctrl-Shift-K is the way out, since Tab and Ctrl-K are the program's.
 */
function isOfThePage(event: KeyboardEvent, terminal: Terminal): boolean {
  const key = event.key.toLowerCase();
  const isChord = event.metaKey || (event.ctrlKey && event.shiftKey);
  if (!isChord || !['c', 'v', 'k'].includes(key)) return false;
  if (key === 'c' && event.type === 'keydown' && !event.metaKey) {
    if (terminal.hasSelection()) document.execCommand('copy');
    // Else it would open Chromium's tools for developers.
    event.preventDefault();
  }
  return true;
}
