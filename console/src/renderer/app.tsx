// SPDX-License-Identifier: Apache-2.0
import { Component, type ReactNode } from 'react';
import { Shell } from './components/shell.js';
import { Audit } from './pages/audit.js';
import { Certificates } from './pages/certificates.js';
import { Clusters } from './pages/clusters.js';
import { Dashboard } from './pages/dashboard.js';
import { History } from './pages/history.js';
import { Mesh } from './pages/mesh.js';
import { Proxies } from './pages/proxies.js';
import { ProxyPage } from './pages/proxy.js';
import { Service } from './pages/service.js';
import { Services } from './pages/services.js';
import { Shaping } from './pages/shaping.js';
import { useConsole } from './state/console.js';
import type { Route } from './state/routes.js';

export function App(): ReactNode {
  const { route } = useConsole();
  return (
    <Shell>
      <PageFault key={`${route.page}/${route.name ?? ''}`}>
        <PageOf route={route} />
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
    case 'shaping':
      return <Shaping />;
    case 'clusters':
      return <Clusters />;
    case 'certificates':
      return <Certificates />;
    case 'mesh':
      return <Mesh />;
    case 'history':
      return <History />;
    case 'audit':
      return <Audit />;
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
        <p>{fault.message}. The others go on; this is a fault of the console, please report it.</p>
      </div>
    );
  }
}
