// SPDX-License-Identifier: Apache-2.0
import type { ReactNode } from 'react';
import type { Page } from '../state/routes.js';

const PATHS: Readonly<Record<Page, string>> = {
  dashboard: 'M3 3h8v10H3zM13 3h8v6h-8zM13 11h8v10h-8zM3 15h8v6H3z',
  services: 'M4 5h16v5H4zM4 14h16v5H4zM7 7.5h.01M7 16.5h.01',
  proxies: 'M5 4h14v6H5zM12 10v5M6 20v-5h12v5M6 20h.01M12 20v-5M18 20h.01',
  connections: 'M4 8h12M12 4l4 4-4 4M20 16H8M12 12l-4 4 4 4',
  logs: 'M4 5h16M4 10h10M4 15h16M4 20h7',
  latency: 'M4 4h4v4H4zM10 4h4v4h-4zM16 4h4v4h-4zM4 10h4v4H4zM10 10h4v4h-4zM16 10h4v4h-4zM4 16h4v4H4zM10 16h4v4h-4z',
  guards: 'M12 3l8 3v6c0 5-3.5 8-8 9-4.5-1-8-4-8-9V6zM9 12l2 2 4-4',
  access: 'M9 11a4 4 0 1 0-.01 0M3 20c0-4 3-6 6-6s6 2 6 6M17 11h4M19 9v4',
  conflicts: 'M12 4l9 16H3zM12 10v4M12 17h.01',
  shaping: 'M3 6h18M6 12h12M10 18h4',
  clusters: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5',
  certificates: 'M4 4h16v11H4zM8 8h8M8 11h4M14 15l-2 6 3-2 3 2-1-6',
  mesh: 'M12 5a2 2 0 1 0 .01 0M5 18a2 2 0 1 0 .01 0M19 18a2 2 0 1 0 .01 0M11 8l-5 8M13 8l5 8M8 19h8',
  history: 'M4 12a8 8 0 1 0 3-6.2M4 4v4h4M12 8v4l3 2',
  audit: 'M6 3h9l4 4v14H6zM9 11h7M9 15h7M9 7h3',
  terminal: 'M3 4h18v16H3zM6 9l3 3-3 3M12 15h5',
  setup: 'M12 4v16M4 12h16M12 4l-3 3M12 4l3 3',
};

export function Icon({ page }: { readonly page: Page }): ReactNode {
  return (
    <svg className="icon" viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">
      <path d={PATHS[page]} />
    </svg>
  );
}
