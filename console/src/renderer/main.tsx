// SPDX-License-Identifier: Apache-2.0
import { Fleet, systemAmbient } from '@marcher/client/fleet';
import { createRoot } from 'react-dom/client';
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
  const { transports, around } = await opened();
  const reach = reachThrough(transports);
  const fleet = new Fleet({ reach, ambient: systemAmbient() });
  fleet.start();
  addEventListener('pagehide', () => fleet.close());
  root.render(
    around(
      <ConsoleProvider fleet={fleet} reach={reach}>
        <App />
      </ConsoleProvider>,
    ),
  );
} catch (error) {
  root.render(
    <main className="stopped">
      <h1>Marcher</h1>
      <p role="alert">{(error as Error).message}</p>
      {desktopBridge() !== undefined && <a href="/?mesh=local">To the agent of this machine</a>}
    </main>,
  );
}

/** In the desktop app by its bridge, else by the gateway that has served the page. */
async function opened(): Promise<OpenedDesktop> {
  const bridge = desktopBridge();
  if (bridge !== undefined) return await (await import('./desktop/open.js')).openDesktop(bridge);
  await beginSession(location.origin);
  return { transports: gatewayTransports(location.origin), around: (children) => children };
}
