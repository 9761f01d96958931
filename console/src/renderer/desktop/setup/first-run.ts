// SPDX-License-Identifier: Apache-2.0
import type { Bridge, Mesh } from '../../../ipc/contract.js';
import { formatRoute } from '../../state/routes.js';

/** Somebody who has no mesh yet, and no agent here, is led to where one is had; not away from a page that was asked for. */
export async function offerSetUp(bridge: Pick<Bridge, 'localAgent'>, meshes: readonly Mesh[]): Promise<void> {
  if (meshes.some(({ name }) => name !== 'local')) return;
  const { state } = await bridge.localAgent().catch(() => ({ state: 'answers' }) as const);
  if (state !== 'answers' && /^(?:#\/?)?$/.test(location.hash)) location.hash = formatRoute({ page: 'setup' });
}
