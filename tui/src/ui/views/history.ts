// SPDX-License-Identifier: Apache-2.0
/** Versions of the configuration of the entry node. */
import type { Revision } from '@marcher/proto/marcher/v1/config_service_pb';
import { clock, timeMs } from '../../cli/output/quantity.js';
import type { View } from './view.js';

export const history: View<Revision> = {
  name: 'history',
  aliases: ['versions', 'hist'],
  help: 'versions of the configuration, and what each changed',
  subject: 'version',
  feed: 'history',
  columns: [
    {
      title: 'VERSION',
      key: 'V',
      rank: 0,
      align: 'right',
      value: ({ version }) => String(version),
      order: ({ version }) => version,
    },
    { title: 'TIME', key: 'T', rank: 0, value: ({ time }) => clock(timeMs(time)) },
    { title: 'AUTHOR', key: 'A', rank: 1, max: 32, value: ({ author }) => author },
    { title: 'ORIGIN', key: 'O', rank: 3, value: ({ origin }) => origin },
    { title: 'CHANGES', rank: 1, value: ({ created, updated, deleted }) => `+${created} ~${updated} -${deleted}` },
    { title: 'MESSAGE', key: 'M', rank: 2, min: 16, max: 120, value: ({ message }) => message || '-' },
  ],
  items: ({ feed }) => feed.items as readonly Revision[],
  id: ({ version }) => String(version),
  label: ({ version }) => `version ${version}`,
  none: () => 'There are no versions yet.',
  loads: 'revision',
};
