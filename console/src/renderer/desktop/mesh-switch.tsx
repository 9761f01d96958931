// SPDX-License-Identifier: Apache-2.0
import type { ReactNode } from 'react';
import { useDesktop } from './desktop.js';

/** Which mesh this is, in its colour, and the others that are known. Nothing in a browser: a gateway is of one agent. */
export function MeshSwitch(): ReactNode {
  const desktop = useDesktop();
  if (desktop === undefined) return null;
  const { meshes, shown, switchTo } = desktop;
  return (
    <label className="mesh-switch">
      <span className="unseen">Mesh</span>
      <select value={shown} onChange={(event) => switchTo(event.target.value)}>
        {meshes.map(({ name, user }) => (
          <option key={name} value={name}>
            {name === 'local' ? 'this machine' : name}
            {user !== undefined && ` (${user})`}
          </option>
        ))}
        {!meshes.some(({ name }) => name === shown) && <option value={shown}>{shown}</option>}
      </select>
    </label>
  );
}
