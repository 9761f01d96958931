// SPDX-License-Identifier: Apache-2.0
/** From one page to the next: what Enter, y, x and the keys that lead on open. */
import { messageOf } from '../actions/writer.js';
import { revisionLines } from '../feeds/loaded.js';
import { listPage, type TextPage, textPage } from '../store/ui-state.js';
import { type Line, piece } from '../theme/line.js';
import { services } from '../views/services.js';
import type { Chosen, Desk } from './desk.js';

export class Navigation {
  private readonly desk: Desk;

  constructor(desk: Desk) {
    this.desk = desk;
  }

  help(): void {
    if (this.reads('help')) return;
    this.desk.dispatch({ type: 'open', page: textPage('help', 'help') });
  }

  detail(): void {
    const chosen = this.desk.chosen();
    if (chosen === undefined) return;
    const { view, id, item, scope } = chosen;
    if (view.loads === 'revision') {
      this.load(chosen);
      return;
    }
    if (view.detail === undefined) return;
    // A row that moves on while one looks at something else stays chosen.
    this.desk.dispatch({ type: 'open', page: textPage('detail', view.label(item), view.name, id, scope) });
  }

  text(what: 'yaml' | 'explain' | 'tree'): void {
    const chosen = this.desk.chosen();
    if (chosen === undefined) return;
    if (this.reads(what)) return;
    const { view, id, item, scope: from } = chosen;
    const service = view.scopeOf?.(item).service;
    // Of the services of a node: there.
    const scope = what === 'yaml' || from.node === undefined ? {} : { node: from.node };
    const title = `${what} of ${service ?? view.label(item)}`;
    const about = service === undefined ? ([view.name, id] as const) : ([services.name, service] as const);
    this.desk.dispatch({ type: 'open', page: textPage(what, title, ...about, scope) });
  }

  /** A list of what has to do with what is chosen. */
  scoped(view: string): void {
    const chosen = this.desk.chosen();
    const scope = chosen?.view.scopeOf?.(chosen.item);
    if (chosen === undefined || scope === undefined) return;
    this.desk.dispatch({ type: 'open', page: listPage(view, { ...chosen.scope, ...scope }) });
  }

  /** What is asked for is being looked at. */
  private reads(what: TextPage['text']): boolean {
    const { page } = this.desk;
    return page.kind === 'text' && page.text === what;
  }

  private load({ view, id, item, scope }: Chosen): void {
    this.desk.loaded = undefined;
    this.desk.dispatch({ type: 'open', page: textPage('loaded', view.label(item), view.name, id, scope) });
    const keep = (lines: readonly Line[]): void => {
      this.desk.loaded = { id, lines };
      this.desk.draw();
    };
    revisionLines(this.desk.ports.reach, BigInt(id)).then(keep, (error: unknown) =>
      keep([[piece('bad', messageOf(error))]]),
    );
  }
}
