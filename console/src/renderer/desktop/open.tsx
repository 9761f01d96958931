// SPDX-License-Identifier: Apache-2.0
/** The page in the desktop app: the mesh that its address names, or the one of the last time. Loaded where the bridge is. */
import { type ReactNode, useCallback, useEffect, useMemo, useState } from 'react';
import type { Bridge, Mesh } from '../../ipc/contract.js';
import { type Desktop, DesktopContext } from './desktop.js';
import { addressOf, meshOf } from './mesh-address.js';
import { meshColour } from './mesh-colour.js';
import { Questions } from './questions.js';
import { SecretsDialog } from './secrets-dialog.js';
import { offerSetUp } from './setup/first-run.js';

export interface OpenedDesktop {
  /** The one that is shown. undefined: that of the gateway, which knows no other. */
  readonly mesh: string | undefined;
  /** Puts the desktop around the console. */
  around(children: ReactNode): ReactNode;
}

/** Fails as Error with a sentence where the mesh is not known. */
export async function openDesktop(bridge: Bridge): Promise<OpenedDesktop> {
  const meshes = await bridge.meshes();
  const shown = meshOf(location.search) ?? meshes.find(({ isChosen }) => isChosen)?.name ?? 'local';
  document.documentElement.dataset['meshColour'] = String(meshColour(shown));
  await bridge.chooseMesh(shown);
  history.replaceState(null, '', `/?${new URLSearchParams({ mesh: shown })}${location.hash || '#/'}`);
  void offerSetUp(bridge, meshes);
  return {
    mesh: shown,
    around: (children) => (
      <DesktopParts bridge={bridge} first={meshes} shown={shown}>
        {children}
      </DesktopParts>
    ),
  };
}

interface DesktopPartsProps {
  readonly bridge: Bridge;
  readonly first: readonly Mesh[];
  readonly shown: string;
  readonly children: ReactNode;
}

function DesktopParts({ bridge, first, shown, children }: DesktopPartsProps): ReactNode {
  const { meshes, refresh } = useMeshes(bridge, first);
  const [secrets, setSecrets] = useState(false);
  const desktop = useMemo<Desktop>(
    () => ({
      bridge,
      meshes,
      shown,
      switchTo: (mesh) => location.assign(addressOf(mesh, location.hash)),
      refresh,
      openSecrets: () => setSecrets(true),
    }),
    [bridge, meshes, shown, refresh],
  );
  return (
    <DesktopContext value={desktop}>
      {children}
      {secrets && <SecretsDialog bridge={bridge} onClose={() => setSecrets(false)} />}
      <Questions bridge={bridge} />
    </DesktopContext>
  );
}

/** `marcher target add` in a terminal: it is here when the person is back. */
function useMeshes(
  bridge: Bridge,
  first: readonly Mesh[],
): { readonly meshes: readonly Mesh[]; readonly refresh: () => void } {
  const [meshes, setMeshes] = useState(first);
  // One that can't be read now is told of where it is needed.
  const refresh = useCallback((): void => void bridge.meshes().then(setMeshes, () => undefined), [bridge]);
  useEffect(() => {
    addEventListener('focus', refresh);
    return () => removeEventListener('focus', refresh);
  }, [refresh]);
  return { meshes, refresh };
}
