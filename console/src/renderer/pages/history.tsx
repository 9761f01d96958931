// SPDX-License-Identifier: Apache-2.0
/** Versions of the configuration as the entry agent has made them, what each has changed, and going back. */
import type { Revision } from '@marcher/proto/marcher/v1/config_service_pb';
import { type ReactNode, useCallback, useEffect, useMemo, useState } from 'react';
import { AskedHead } from '../components/asked-head.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Dialog } from '../components/dialog.js';
import { DiffView } from '../components/diff-view.js';
import { Facts, Problem } from '../components/panel.js';
import { useAnswer } from '../state/answer.js';
import { useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { clock, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import { reverting, type Write } from '../writes/write.js';
import { WriteDialog } from '../writes/write-dialog.js';

const LIMIT = 200;
const columns: readonly Column<Revision>[] = [
  {
    key: 'version',
    title: 'Version',
    width: '90px',
    align: 'end',
    render: ({ version }) => String(version),
    value: ({ version }) => version,
  },
  {
    key: 'time',
    title: 'Time',
    width: '170px',
    render: ({ time }) => clock(timeMs(time)),
    value: ({ time }) => timeMs(time) ?? 0,
  },
  { key: 'author', title: 'Author', render: ({ author }) => said(author), value: ({ author }) => author },
  {
    key: 'origin',
    title: 'Origin',
    width: '90px',
    render: ({ origin }) => said(origin),
    value: ({ origin }) => origin,
  },
  {
    key: 'changes',
    title: 'Changes',
    width: '120px',
    render: ({ created, updated, deleted }) => `+${created} ~${updated} −${deleted}`,
    value: ({ created, updated, deleted }) => created + updated + deleted,
  },
  {
    key: 'message',
    title: 'Message',
    width: 'minmax(0, 2fr)',
    render: ({ message }) => said(message || '–'),
    value: ({ message }) => message,
  },
];
const keyOf = ({ version }: Revision): string => String(version);

export default function History(): ReactNode {
  const { route } = useConsole();
  const reach = useReach();
  const { nodes } = useFleet();
  const version = [...nodes.values()].find(({ isEntry }) => isEntry)?.version ?? 0n;
  const ask = useCallback(
    async (signal: AbortSignal) =>
      (await reach.entry.config.history({ limit: LIMIT }, { signal, timeoutMs: 20_000 })).revisions,
    [reach],
  );
  const { value: revisions = [], error, isLoading, again } = useAnswer(ask);
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked again when the configuration has another version
  useEffect(again, [version]);
  const [shown, setShown] = useState<bigint | undefined>(undefined);
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(
    () => revisions.filter(({ author, message }) => filter.matches(`${author} ${message}`)),
    [revisions, filter],
  );
  return (
    <>
      <AskedHead
        title="History"
        note={`of the agent that is connected to, the newest ${LIMIT}`}
        error={error}
        again={again}
      />
      <DataTable
        label="Versions"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        open={(revision) => setShown(revision.version)}
        order={{ key: 'version', descending: true }}
        empty={isLoading ? 'Asking…' : 'There are no versions yet.'}
      />
      {shown !== undefined && <RevisionDialog version={shown} newest={version} onClose={() => setShown(undefined)} />}
    </>
  );
}

interface RevisionDialogProps {
  readonly version: bigint;
  readonly newest: bigint;
  readonly onClose: () => void;
}

function RevisionDialog({ version, newest, onClose }: RevisionDialogProps): ReactNode {
  const { unlocked } = useConsole();
  const reach = useReach();
  const [write, setWrite] = useState<Write | undefined>(undefined);
  // As it was when it was opened.
  const [now] = useState(newest);
  const ask = useCallback(
    async (signal: AbortSignal) => {
      const since = Number(now - version) + 1;
      const request = { limit: Math.min(1_000, Math.max(1, since)), withDiff: true };
      return (await reach.entry.config.history(request, { signal, timeoutMs: 20_000 })).revisions;
    },
    [reach, version, now],
  );
  const { value: revisions, error } = useAnswer(ask);
  const revision = revisions?.find((each) => each.version === version);
  const isNewest = !(revisions ?? []).some((each) => each.version > version);
  if (write !== undefined) return <WriteDialog write={write} onClose={onClose} />;
  return (
    <Dialog title={`Version ${version}`} onClose={onClose} wide>
      {error !== undefined && <Problem>{said(error)}</Problem>}
      {revision === undefined ? (
        <p aria-busy={error === undefined}>{error === undefined ? 'Asking…' : ''}</p>
      ) : (
        <>
          <Facts
            facts={[
              ['Time', clock(timeMs(revision.time))],
              ['Author', said(revision.author)],
              ['Origin', said(revision.origin)],
              ['Message', said(revision.message || '–')],
            ]}
          />
          <DiffView diffs={revision.diffs} />
          <footer className="dialog-foot">
            <button type="button" onClick={onClose}>
              Close
            </button>
            {!isNewest && (
              <button
                type="button"
                className="danger"
                disabled={!unlocked}
                title={unlocked ? undefined : 'Read-only: unlock changes first'}
                onClick={() => void reverting(reach.entry, version).then(setWrite)}
              >
                Go back to this version…
              </button>
            )}
          </footer>
        </>
      )}
    </Dialog>
  );
}
