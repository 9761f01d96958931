// SPDX-License-Identifier: Apache-2.0
/** From one page to the next: what Enter, y, x and the keys that lead on open. */
import { messageOf } from '../actions/writer.js';
import { revisionLines } from '../feeds/loaded.js';
import { listPage, textPage } from '../store/ui-state.js';
import { type Line, piece } from '../theme/line.js';
import type { Desk } from './desk.js';

export class Navigation {
  private readonly desk: Desk;

  constructor(desk: Desk) {
    this.desk = desk;
  }

  help(): void {
    this.desk.dispatch({ type: 'open', page: textPage('help', 'help') });
  }

  detail(): void {
    const chosen = this.desk.chosen();
    if (chosen === undefined) return;
    const { view, row, page } = chosen;
    const title = view.label(row.item);
    if (view.loads === 'revision') {
      this.load(row.id, title);
      return;
    }
    if (view.detail === undefined) return;
    // A row that moves on while one looks at something else stays chosen.
    this.desk.dispatch({ type: 'open', page: textPage('detail', title, view.name, row.id, page.scope) });
  }

  text(what: 'yaml' | 'explain' | 'tree'): void {
    const chosen = this.desk.chosen();
    if (chosen === undefined) return;
    const { view, row, page } = chosen;
    const name = view.label(row.item);
    if (what === 'explain' && view.subject === 'node') {
      this.desk.dispatch({ type: 'open', page: textPage('detail', name, view.name, row.id, page.scope) });
      return;
    }
    const service = view.scopeOf?.(row.item).service;
    const key = view.subject === 'object' ? row.id : `Service/${service ?? name}`;
    const id = what === 'yaml' ? key : (service ?? name);
    // Of the services of a node: there.
    const scope = what === 'yaml' || page.scope.node === undefined ? {} : { node: page.scope.node };
    const title = `${what} of ${service ?? name}`;
    this.desk.dispatch({ type: 'open', page: textPage(what, title, view.name, id, scope) });
  }

  /** A list of what has to do with the chosen row. */
  scoped(view: string): void {
    const chosen = this.desk.chosen();
    const scope = chosen?.view.scopeOf?.(chosen.row.item);
    if (chosen === undefined || scope === undefined) return;
    this.desk.dispatch({ type: 'open', page: listPage(view, { ...chosen.page.scope, ...scope }) });
  }

  private load(id: string, title: string): void {
    this.desk.loaded = undefined;
    this.desk.dispatch({ type: 'open', page: textPage('loaded', title, '', id) });
    const keep = (lines: readonly Line[]): void => {
      this.desk.loaded = { id, lines };
      this.desk.draw();
    };
    revisionLines(this.desk.ports.reach, BigInt(id)).then(keep, (error: unknown) =>
      keep([[piece('bad', messageOf(error))]]),
    );
  }
}
