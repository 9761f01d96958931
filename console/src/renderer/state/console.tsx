// SPDX-License-Identifier: Apache-2.0
/** What every page has at hand: the fleet as it is, where the person is, and what they may do. */
import type { WriteLock } from '@marcher/client/actions';
import type { FleetState, NodeKey, Reach } from '@marcher/client/fleet';
import {
  createContext,
  type ReactNode,
  startTransition,
  use,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
} from 'react';
import { formatRoute, type Page, parseRoute, placeOf, type Route } from './routes.js';
import { applyTheme, keepTheme, storedTheme, type Theme } from './theme.js';
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
  /** Calls of agents, which nothing that is observed takes: loaded when somebody asks for the first time, and the same promise then. */
  readonly reach: () => Promise<Reach>;
  readonly route: Route;
  readonly theme: Theme;
  /** Whether changes are offered: of this mesh, until nothing was changed for a while, or the page is closed. */
  readonly unlocked: boolean;
  /** Runs a change. LockedError: it was locked meanwhile. */
  change<T>(run: () => Promise<T>): Promise<T>;
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

/** Waits for it as a page waits for its parts (Suspense). */
export function useReach(): Reach {
  return use(useConsole().reach());
}

const FleetContext = createContext<FleetState | undefined>(undefined);

/** As it is drawn: one state for the whole page. */
export function useFleet(): FleetState {
  const found = useContext(FleetContext);
  if (found === undefined) throw new Error('there is no console around this component');
  return found;
}

interface ConsoleProps {
  readonly fleet: FleetSource;
  readonly reach: Console['reach'];
  readonly children: ReactNode;
}

export function ConsoleProvider({ fleet, reach, children }: ConsoleProps): ReactNode {
  const route = useRoute();
  const state = useFleetState(fleet);
  const [theme, setThemeState] = useState(storedTheme);
  // What the system prefers may have changed since the page was painted first.
  useEffect(() => applyTheme(theme), [theme]);
  const [notice, notify] = useState('');
  const trend = useTrend(fleet);
  const meshId = state.mesh?.id ?? '';
  useEffect(() => {
    if (notice === '') return;
    const timer = setTimeout(() => notify(''), 8_000);
    return () => clearTimeout(timer);
  }, [notice]);
  const { unlocked, setUnlocked, change } = useLock(meshId);
  const value = useMemo<Console>(
    () => ({
      fleet,
      reach,
      route,
      theme,
      trend,
      notice,
      notify,
      unlocked,
      setUnlocked,
      change,
      setTheme: (next) => {
        keepTheme(next);
        setThemeState(next);
      },
      setFilter: (filter) => {
        // No step of its own in the way back.
        history.replaceState(null, '', formatRoute({ ...route, filter }));
        dispatchEvent(new HashChangeEvent('hashchange'));
      },
    }),
    [fleet, reach, route, theme, trend, notice, unlocked, setUnlocked, change],
  );
  return (
    <ConsoleContext value={value}>
      <FleetContext value={state}>{children}</FleetContext>
    </ConsoleContext>
  );
}

export function navigate(route: Partial<Route> & { readonly page: Page }): void {
  location.hash = formatRoute(route);
}

/** What comes by itself is drawn in slices, and never keeps waiting who types or clicks. */
function useFleetState(fleet: FleetSource): FleetState {
  const [state, setState] = useState(fleet.state);
  useEffect(() => {
    const draw = (): void => startTransition(() => setState(fleet.state));
    draw();
    return fleet.subscribe(draw);
  }, [fleet]);
  return state;
}

/** Another page is drawn in slices; what is typed is there at once. */
function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    let shown = location.hash;
    const go = (): void => {
      if (location.hash === shown) return;
      const next = parseRoute(location.hash);
      const isAnother = placeOf(next) !== placeOf(parseRoute(shown));
      shown = location.hash;
      if (isAnother) startTransition(() => setRoute(next));
      else setRoute(next);
    };
    addEventListener('hashchange', go);
    // It may be another one since it was drawn first.
    setRoute(parseRoute(location.hash));
    return () => removeEventListener('hashchange', go);
  }, []);
  return route;
}

const LOCK_LOOK_MS = 5_000;

function useLock(meshId: string): Pick<Console, 'unlocked' | 'setUnlocked' | 'change'> {
  const lock = useRef<WriteLock | undefined>(undefined);
  const [unlockedMesh, setUnlockedMesh] = useState<string | undefined>(undefined);
  const setUnlocked = useCallback(
    (unlocked: boolean) => {
      if (!unlocked) {
        lock.current?.lock(meshId);
        setUnlockedMesh(undefined);
        return;
      }
      void import('@marcher/client/actions').then(({ WriteLock }) => {
        lock.current ??= new WriteLock(Date.now);
        lock.current.unlock(meshId);
        setUnlockedMesh(meshId);
      });
    },
    [meshId],
  );
  const change = useCallback(
    async <T,>(run: () => Promise<T>): Promise<T> => {
      if (lock.current === undefined) throw new Error('this mesh is read-only here: unlock it first');
      return await lock.current.write(meshId, run);
    },
    [meshId],
  );
  useEffect(() => {
    if (unlockedMesh === undefined) return;
    // It locks by itself after a while without a change.
    const timer = setInterval(() => {
      if (lock.current?.isUnlocked(unlockedMesh) !== true) setUnlockedMesh(undefined);
    }, LOCK_LOOK_MS);
    return () => clearInterval(timer);
  }, [unlockedMesh]);
  return { unlocked: unlockedMesh === meshId, setUnlocked, change };
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
