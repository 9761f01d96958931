// SPDX-License-Identifier: Apache-2.0
/** Addresses of the web in what a terminal shows. They are the person's to open, in their browser: the main process takes https alone. */
import type { ILink, ILinkProvider, Terminal } from '@xterm/xterm';

const ADDRESS = /https:\/\/[^\s"'<>()[\]{}`│|\\^]{3,2000}/g;
/** What ends a sentence, and not an address. */
const AFTER = /[.,:;!?]+$/;

export interface FoundLink {
  readonly text: string;
  /** From 0, in UTF-16 of the line. */
  readonly at: number;
}

export function linksIn(line: string): readonly FoundLink[] {
  return [...line.matchAll(ADDRESS)].flatMap((match) => {
    const text = match[0].replace(AFTER, '');
    return URL.canParse(text) ? [{ text, at: match.index }] : [];
  });
}

/** A line at a time: one that is wrapped is not put together. */
export function linkProvider(terminal: Terminal, open: (url: string) => void): ILinkProvider {
  return {
    provideLinks(row, told) {
      const line = terminal.buffer.active.getLine(row - 1)?.translateToString(true) ?? '';
      const links = linksIn(line).map(
        ({ text, at }): ILink => ({
          text,
          range: { start: { x: at + 1, y: row }, end: { x: at + text.length, y: row } },
          activate: () => open(text),
        }),
      );
      told(links.length === 0 ? undefined : links);
    },
  };
}
