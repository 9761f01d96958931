// SPDX-License-Identifier: Apache-2.0
/** What every page has at hand: the fleet as it is, where the person is, and what they may do. */
import type { FleetState, NodeKey, Reach } from '@marcher/client/fleet';
import {
  createContext,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from 'react';
import { formatRoute, type Page, parseRoute, type Route } from './routes.js';
import { keepTheme, storedTheme, type Theme } from './theme.js';
import { type TrendPoint, withPoint } from './trend.js';

/** What the renderer needs of a Fleet. */
export interface FleetSource {
  readonly state: FleetState;
  subscribe(listener: () => void): () => void;
  pause(): void;
  resume(): void;
  retry(node: NodeKey): void;
}

export interface Console {
  readonly fleet: FleetSource;
  readonly reach: Reach;
  readonly route: Route;
  readonly theme: Theme;
  /** Whether writes are offered: of this mesh, until the page is closed. */
  readonly unlocked: boolean;
  readonly trend: { readonly points: () => readonly TrendPoint[] };
  setTheme(theme: Theme): void;
  setUnlocked(unlocked: boolean): void;
  setFilter(filter: string): void;
  /** Says it to who sees, and to who hears. */
  notify(text: string): void;
  readonly notice: string;
}

const ConsoleContext = createContext<Console | undefined>(undefined);

export function useConsole(): Console {
  const found = useContext(ConsoleContext);
  if (found === undefined) throw new Error('there is no console around this component');
  return found;
}

export function useFleet(): FleetState {
  const { fleet } = useConsole();
  return useSyncExternalStore(
    useCallback((listener) => fleet.subscribe(listener), [fleet]),
    () => fleet.state,
  );
}

interface ConsoleProps {
  readonly fleet: FleetSource;
  readonly reach: Reach;
  readonly children: ReactNode;
}

export function ConsoleProvider({ fleet, reach, children }: ConsoleProps): ReactNode {
  const route = useRoute();
  const [theme, setThemeState] = useState(storedTheme);
  const [unlockedMesh, setUnlockedMesh] = useState<string | undefined>(undefined);
  const [notice, notify] = useState('');
  const trend = useTrend(fleet);
  const meshId = useSyncExternalStore(
    useCallback((listener) => fleet.subscribe(listener), [fleet]),
    () => fleet.state.mesh?.id ?? '',
  );
  useEffect(() => {
    if (notice === '') return;
    const timer = setTimeout(() => notify(''), 8_000);
    return () => clearTimeout(timer);
  }, [notice]);
  const value = useMemo<Console>(
    () => ({
      fleet,
      reach,
      route,
      theme,
      trend,
      notice,
      notify,
      unlocked: unlockedMesh === meshId,
      setTheme: (next) => {
        keepTheme(next);
        setThemeState(next);
      },
      setUnlocked: (unlocked) => setUnlockedMesh(unlocked ? meshId : undefined),
      setFilter: (filter) => {
        // No step of its own in the way back.
        history.replaceState(null, '', formatRoute({ ...route, filter }));
        dispatchEvent(new HashChangeEvent('hashchange'));
      },
    }),
    [fleet, reach, route, theme, trend, notice, unlockedMesh, meshId],
  );
  return <ConsoleContext value={value}>{children}</ConsoleContext>;
}

export function navigate(route: Partial<Route> & { readonly page: Page }): void {
  location.hash = formatRoute(route);
}

function useRoute(): Route {
  const hash = useSyncExternalStore(
    (listener) => {
      addEventListener('hashchange', listener);
      return () => removeEventListener('hashchange', listener);
    },
    () => location.hash,
  );
  return useMemo(() => parseRoute(hash), [hash]);
}

/** Goes on while another page is shown. */
function useTrend(fleet: FleetSource): Console['trend'] {
  const [trend] = useState(() => {
    let points: readonly TrendPoint[] = [];
    return {
      points: () => points,
      take: (state: FleetState) => {
        points = withPoint(points, state);
      },
    };
  });
  useEffect(() => fleet.subscribe(() => trend.take(fleet.state)), [fleet, trend]);
  return trend;
}
