// SPDX-License-Identifier: Apache-2.0
/**
 * What a page has of the desktop app that it runs in, and has not in a browser: the meshes that are known, and the bridge to the
 * main process. Small, since every page asks whether it is there; what it takes to have it is open.tsx.
 */
import { createContext, useContext } from 'react';
import type { Bridge, Mesh } from '../../ipc/contract.js';

export interface Desktop {
  readonly bridge: Bridge;
  readonly meshes: readonly Mesh[];
  /** The one that this page shows, by its name. */
  readonly shown: string;
  /** The page begins anew with another one. */
  switchTo(mesh: string): void;
  /** Reads the address book again. */
  refresh(): void;
  /** Shows what there is to say of the console's secrets. */
  openSecrets(): void;
}

/** undefined: in a browser. */
export const DesktopContext = createContext<Desktop | undefined>(undefined);

export function useDesktop(): Desktop | undefined {
  return useContext(DesktopContext);
}

/** What the preload script has left; undefined: nobody has. */
export function desktopBridge(): Bridge | undefined {
  return (globalThis as { readonly marcher?: Bridge }).marcher;
}
