// SPDX-License-Identifier: Apache-2.0
import { startTransition } from 'react';
import { createRoot } from 'react-dom/client';
import type { FleetPlace } from './agents/fleet-port.js';
import { startFleet } from './agents/fleet-thread.js';
import { beginSession } from './agents/session.js';
import { App } from './app.js';
import { desktopBridge } from './desktop/desktop.js';
import type { OpenedDesktop } from './desktop/open.js';
import { type Console, ConsoleProvider } from './state/console.js';
import { applyTheme, storedTheme } from './state/theme.js';

const root = createRoot(document.getElementById('root') as HTMLElement);
applyTheme(storedTheme());
try {
  const { mesh, around } = await opened();
  const place = { base: location.origin, mesh };
  const page = around(
    <ConsoleProvider fleet={startFleet(place, stopped)} reach={reachLater(place)}>
      <App />
    </ConsoleProvider>,
  );
  startTransition(() => root.render(page));
} catch (error) {
  stopped((error as Error).message);
}

function stopped(why: string): void {
  root.render(
    <main className="stopped">
      <h1>Marcher</h1>
      <p role="alert">{why}</p>
      {desktopBridge() !== undefined && <a href="/?mesh=local">To the agent of this machine</a>}
    </main>,
  );
}

/** In the desktop app by its bridge, else by the gateway that has served the page. */
async function opened(): Promise<OpenedDesktop> {
  const bridge = desktopBridge();
  if (bridge !== undefined) return await (await import('./desktop/open.js')).openDesktop(bridge);
  await beginSession(location.origin);
  return { mesh: undefined, around: (children) => children };
}

/** What is observed comes from the fleet's thread: of what agents are asked by nothing is needed to see it, and half of the program's start was that. */
function reachLater(place: FleetPlace): Console['reach'] {
  let loaded: ReturnType<Console['reach']> | undefined;
  return () => {
    loaded ??= import('./agents/reach.js')
      .then(({ reachFrom }) => reachFrom(place))
      .catch((reason: unknown) => {
        // Who asks again tries again.
        loaded = undefined;
        throw reason;
      });
    return loaded;
  };
}
