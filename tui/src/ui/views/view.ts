// SPDX-License-Identifier: Apache-2.0
/** A view: which things are its rows, what stands in its columns, and what can be told of one. Pure, and fetches nothing. */
import type { FleetState } from '@marcher/client/fleet';
import type { Feed } from '../feeds/feed.js';
import type { Subject } from '../keys/table.js';
import type { Scope } from '../store/ui-state.js';
import type { Line } from '../theme/line.js';
import type { Theme, Tone } from '../theme/theme.js';

/** What a view looks at. */
export interface Sight {
  readonly state: FleetState;
  /** Of views that have one. */
  readonly feed: Feed;
  /** Unix time, in whole seconds where nothing else has changed. */
  readonly nowMs: number;
  readonly theme: Theme;
  /** Of the screen. */
  readonly columns: number;
  readonly scope: Scope;
}

export interface Column<Item> {
  readonly title: string;
  readonly value: (item: Item, sight: Sight) => string;
  /** What it is sorted by; absent: the text. */
  readonly order?: (item: Item, sight: Sight) => number | string | bigint;
  /** By what the row was made of alone: a line is painted once. */
  readonly tone?: (text: string, item: Item) => Tone | undefined;
  readonly align?: 'right';
  /** Shift with this letter sorts by it. */
  readonly key?: string;
  /** Where there is too little room, columns with the highest go first, those from 6 on before one of 0 is cut; 0 stays. */
  readonly rank: number;
  /** May be cut down to so many cells before a column goes. Absent: it is not cut. */
  readonly min?: number;
  /** Where it is cut its last cells are left, not the first: of a series, whose newest are there. All of them one cell each. */
  readonly keeps?: 'end';
  /** Cells at most. Default 40. */
  readonly max?: number;
}

export interface View<Item extends object = object> {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly help: string;
  readonly subject: Subject;
  /** Where its rows come from, if not from the state. */
  readonly feed?: string;
  /** Cells change with time alone. */
  readonly timed?: boolean;
  /** Cells say also what other things are: they are made anew with each state. */
  readonly composed?: boolean;
  /** A log: the newest is at the end, and followed. */
  readonly tail?: boolean;
  readonly columns: readonly Column<Item>[];
  items(sight: Sight): readonly Item[];
  /** Stays what it is as long as the thing is the same. */
  id(item: Item): string;
  /** As in a title or a question: "web", "web/a". */
  label(item: Item): string;
  /** What has to do with it elsewhere: for the keys that lead on. */
  scopeOf?(item: Item): Scope;
  /** What is said in the place of rows. */
  none(sight: Sight): string;
  detail?(item: Item, sight: Sight): readonly Line[];
  /** Of what Enter has to ask an agent for first: feeds/loaded.ts knows how. */
  readonly loads?: 'revision';
}
