// SPDX-License-Identifier: Apache-2.0
/** What a text says, made anew from what is known whenever it is drawn. */
import { helpLines } from '../components/help.js';
import type { TextPage } from '../store/ui-state.js';
import { type Line, piece } from '../theme/line.js';
import { dashboard } from './dashboard.js';
import { explainService } from './explain.js';
import { VIEWS } from './index.js';
import { services } from './services.js';
import { serviceTree } from './tree.js';
import type { Sight } from './view.js';
import { yamlLines, yamlOf } from './yaml.js';

/** Of a text that an agent was asked for first. */
export interface Loaded {
  readonly id: string;
  readonly lines: readonly Line[];
}

export function textLines(page: TextPage, sight: Sight, loaded: Loaded | undefined): readonly Line[] {
  switch (page.text) {
    case 'dashboard':
      return dashboard(sight);
    case 'help':
      return helpLines();
    case 'loaded':
      return loaded?.id === page.id ? loaded.lines : [[piece('dim', 'Asking ...')]];
    case 'detail': {
      const view = VIEWS.get(page.view);
      const item = view?.items(sight).find((each) => view.id(each) === page.id);
      return item === undefined ? gone(page) : (view?.detail?.(item, sight) ?? []);
    }
    case 'yaml': {
      const { services: serviceViews, objects } = sight.state;
      const object = page.view === services.name ? serviceViews.get(page.id) : objects.get(page.id);
      if (object === undefined) return gone(page);
      const text = yamlOf(object);
      return text === undefined ? [[piece('dim', 'No node has said yet what it declares.')]] : yamlLines(text);
    }
    case 'explain':
    case 'tree': {
      const service = sight.state.services.get(page.id);
      if (service === undefined) return gone(page);
      return page.text === 'tree' ? serviceTree(service, sight) : explainService(service, sight);
    }
  }
}

function gone({ title }: TextPage): readonly Line[] {
  return [[piece('warn', `${title} is gone.`)]];
}
