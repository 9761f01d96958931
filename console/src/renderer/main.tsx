// SPDX-License-Identifier: Apache-2.0
import { createRoot } from 'react-dom/client';
import { startFleet } from './agents/fleet-thread.js';
import { reachThrough } from './agents/reach.js';
import { beginSession } from './agents/session.js';
import { gatewayTransports } from './agents/transport.js';
import { App } from './app.js';
import { desktopBridge } from './desktop/desktop.js';
import type { OpenedDesktop } from './desktop/open.js';
import { ConsoleProvider } from './state/console.js';
import { applyTheme, storedTheme } from './state/theme.js';

const root = createRoot(document.getElementById('root') as HTMLElement);
applyTheme(storedTheme());
try {
  const { transports, mesh, around } = await opened();
  const reach = reachThrough(transports);
  const fleet = startFleet({ base: location.origin, mesh }, stopped);
  root.render(
    around(
      <ConsoleProvider fleet={fleet} reach={reach}>
        <App />
      </ConsoleProvider>,
    ),
  );
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
  return { transports: gatewayTransports(location.origin), mesh: undefined, around: (children) => children };
}
