// SPDX-License-Identifier: Apache-2.0
import type { Command } from '../components/palette-commands.js';
import type { Desktop } from './desktop.js';

/** What the palette offers in the desktop, and not in a browser. */
export function desktopCommands(desktop: Desktop | undefined): readonly Command[] {
  if (desktop === undefined) return [];
  const { meshes, shown, switchTo, openSecrets } = desktop;
  return [
    ...meshes
      .filter(({ name }) => name !== shown)
      .map(({ name }): Command => ({ kind: 'do', title: `Switch to mesh ${name}`, run: () => switchTo(name) })),
    { kind: 'do', title: 'Secrets of this console', run: openSecrets },
  ];
}
