// SPDX-License-Identifier: Apache-2.0
import { Component, type ComponentType, lazy, type ReactNode, Suspense } from 'react';
import { Shell } from './components/shell.js';
import { DesktopPage } from './desktop/desktop-page.js';
import { Dashboard } from './pages/dashboard.js';
import { useConsole } from './state/console.js';
import { type Page, placeOf, type Route } from './state/routes.js';

/** Loaded when somebody goes there: the first paint is of the dashboard. */
const Services = lazy(() => import('./pages/services.js'));
const Service = lazy(() => import('./pages/service.js'));
const Proxies = lazy(() => import('./pages/proxies.js'));
const ProxyPage = lazy(() => import('./pages/proxy.js'));
const LATER: Readonly<
  Record<Exclude<Page, 'dashboard' | 'services' | 'proxies' | 'terminal' | 'setup'>, ComponentType>
> = {
  connections: lazy(() => import('./pages/connections.js')),
  logs: lazy(() => import('./pages/logs.js')),
  latency: lazy(() => import('./pages/latency.js')),
  shaping: lazy(() => import('./pages/shaping.js')),
  guards: lazy(() => import('./pages/guards.js')),
  clusters: lazy(() => import('./pages/clusters.js')),
  certificates: lazy(() => import('./pages/certificates.js')),
  access: lazy(() => import('./pages/access.js')),
  mesh: lazy(() => import('./pages/mesh.js')),
  conflicts: lazy(() => import('./pages/conflicts.js')),
  history: lazy(() => import('./pages/history.js')),
  audit: lazy(() => import('./pages/audit.js')),
};

export function App(): ReactNode {
  const { route } = useConsole();
  return (
    <Shell>
      <PageFault key={placeOf(route)}>
        <Suspense fallback={<p aria-busy="true">Loading…</p>}>
          <PageOf route={route} />
        </Suspense>
      </PageFault>
    </Shell>
  );
}

function PageOf({ route: { page, name } }: { readonly route: Route }): ReactNode {
  switch (page) {
    case 'dashboard':
      return <Dashboard />;
    case 'services':
      return name === undefined ? <Services /> : <Service name={name} />;
    case 'proxies':
      return name === undefined ? <Proxies /> : <ProxyPage nodeKey={name} />;
    case 'terminal':
    case 'setup':
      return <DesktopPage page={page} />;
    default: {
      const Later = LATER[page];
      return <Later />;
    }
  }
}

/** A page that fails takes the others not with it. */
class PageFault extends Component<{ readonly children: ReactNode }, { readonly fault: Error | undefined }> {
  override state: { readonly fault: Error | undefined } = { fault: undefined };

  static getDerivedStateFromError(fault: Error): { readonly fault: Error } {
    return { fault };
  }

  override render(): ReactNode {
    const { fault } = this.state;
    if (fault === undefined) return this.props.children;
    return (
      <div role="alert" className="problem">
        <h1>This page has failed</h1>
        <p>
          {fault.message}. The others go on. Where it could not be loaded, load the console anew; else this is a fault
          of the console, please report it.
        </p>
      </div>
    );
  }
}
