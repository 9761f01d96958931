// SPDX-License-Identifier: Apache-2.0
import { Fleet, systemAmbient } from '@marcher/client/fleet';
import { createRoot } from 'react-dom/client';
import { reachThrough } from './agents/reach.js';
import { beginSession } from './agents/session.js';
import { gatewayTransports } from './agents/transport.js';
import { App } from './app.js';
import { ConsoleProvider } from './state/console.js';
import { applyTheme, storedTheme } from './state/theme.js';

const root = createRoot(document.getElementById('root') as HTMLElement);
applyTheme(storedTheme());
try {
  await beginSession(location.origin);
  const reach = reachThrough(gatewayTransports(location.origin));
  const fleet = new Fleet({ reach, ambient: systemAmbient() });
  fleet.start();
  addEventListener('pagehide', () => fleet.close());
  root.render(
    <ConsoleProvider fleet={fleet} reach={reach}>
      <App />
    </ConsoleProvider>,
  );
} catch (error) {
  root.render(
    <main className="stopped">
      <h1>Marcher</h1>
      <p role="alert">{(error as Error).message}</p>
    </main>,
  );
}
