// SPDX-License-Identifier: Apache-2.0
/** How one comes to a mesh: this machine's agent, one elsewhere, and another node by SSH. */
import type { ReactNode } from 'react';
import type { Desktop } from '../desktop.js';
import { AddMesh } from './add-mesh.js';
import { AddNode } from './add-node.js';
import { LocalAgent } from './local-agent.js';
import './setup.css';

export function SetupPage({ desktop }: { readonly desktop: Desktop }): ReactNode {
  return (
    <>
      <h1>Set up</h1>
      <LocalAgent desktop={desktop} />
      <AddMesh desktop={desktop} />
      <AddNode desktop={desktop} />
    </>
  );
}
