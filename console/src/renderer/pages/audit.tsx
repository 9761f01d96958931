// SPDX-License-Identifier: Apache-2.0
/** The audit log of one node, a page at a time, and whether its chain is what was written. */
import type { AgentCalls } from '@marcher/client/fleet';
import { AuditOutcome, type AuditRecord, type VerifyAuditResponse } from '@marcher/proto/marcher/v1/audit_service_pb';
import { type ReactNode, useCallback, useMemo, useState } from 'react';
import { Badge, type Tone } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Problem } from '../components/panel.js';
import { useAnswer } from '../state/answer.js';
import { useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { clock, plural, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';

const PAGE = 200;
/** So many are kept: the filter of the agent finds what is older. */
const RECORDS_MAX = 5_000;
const OUTCOMES: Readonly<Record<number, readonly [Tone, string]>> = {
  [AuditOutcome.DONE]: ['good', 'done'],
  [AuditOutcome.DENIED]: ['bad', 'denied'],
  [AuditOutcome.FAILED]: ['warn', 'failed'],
};
const outcomeOf = ({ outcome }: AuditRecord): readonly [Tone, string] => OUTCOMES[outcome] ?? ['plain', 'unknown'];

const columns: readonly Column<AuditRecord>[] = [
  {
    key: 'sequence',
    title: 'No.',
    width: '80px',
    align: 'end',
    render: ({ sequence }) => String(sequence),
    value: ({ sequence }) => sequence,
  },
  {
    key: 'time',
    title: 'Time',
    width: '170px',
    render: ({ time }) => clock(timeMs(time)),
    value: ({ time }) => timeMs(time) ?? 0,
  },
  { key: 'actor', title: 'Who', render: ({ actor }) => said(actor), value: ({ actor }) => actor },
  {
    key: 'via',
    title: 'Via',
    width: '100px',
    render: ({ via, source }) => said([via, source].filter(Boolean).join(' ')),
    value: ({ via }) => via,
  },
  {
    key: 'action',
    title: 'Action',
    width: 'minmax(0, 1.4fr)',
    render: ({ action }) => said(action.replace(/^marcher\.v1\./, '')),
    value: ({ action }) => action,
  },
  {
    key: 'outcome',
    title: 'Outcome',
    width: '106px',
    render: (record) => {
      const [tone, word] = outcomeOf(record);
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: (record) => outcomeOf(record)[1],
  },
  {
    key: 'objects',
    title: 'Objects',
    width: 'minmax(0, 1.4fr)',
    render: ({ objects, moreObjects }) =>
      said(objects.join(', ') + (moreObjects > 0 ? ` and ${moreObjects} more` : '')),
  },
  { key: 'message', title: 'Message', render: ({ message }) => said(message) },
];
const keyOf = ({ sequence }: AuditRecord): string => String(sequence);

export default function Audit(): ReactNode {
  const reach = useReach();
  const { nodes } = useFleet();
  const [chosen, setChosen] = useState('');
  const entry = [...nodes.values()].find(({ isEntry }) => isEntry);
  const node = nodes.get(chosen) ?? entry;
  const calls = useMemo(() => (chosen === '' ? reach.entry : reach.node(chosen)), [reach, chosen]);
  const nodeId = node === undefined || node.isEntry ? undefined : node.key;
  return (
    <>
      <header className="page-head">
        <h1>Audit Log</h1>
        <label>
          Node{' '}
          <select value={chosen} onChange={(event) => setChosen(event.target.value)}>
            {[...nodes.values()].map(({ key, name, isEntry }) => (
              <option key={key} value={isEntry ? '' : key}>
                {said(name)}
              </option>
            ))}
          </select>
        </label>
        <Verify key={chosen} calls={calls} />
      </header>
      <Records key={`records ${chosen}`} calls={calls} nodeId={nodeId} />
    </>
  );
}

interface OfNode {
  readonly calls: AgentCalls;
  /** undefined: the entry agent. */
  readonly nodeId: string | undefined;
}

function Records({ calls, nodeId }: OfNode): ReactNode {
  const { route } = useConsole();
  const [older, setOlder] = useState<{ readonly records: readonly AuditRecord[]; readonly next: bigint } | undefined>(
    undefined,
  );
  const [problem, setProblem] = useState<string | undefined>(undefined);
  const ask = useCallback(
    async (signal: AbortSignal) => await calls.audit.listAuditRecords({ limit: PAGE }, { signal, timeoutMs: 20_000 }),
    [calls],
  );
  const { value, error, isLoading, again } = useAnswer(ask);
  const records = useMemo(() => [...(value?.records ?? []), ...(older?.records ?? [])], [value, older]);
  const next = older?.next ?? value?.next ?? 0n;
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(
    () =>
      records.filter(({ actor, action, objects, message }) =>
        filter.matches(`${actor} ${action} ${objects.join(' ')} ${message}`),
      ),
    [records, filter],
  );
  const more = async (): Promise<void> => {
    try {
      const page = await calls.audit.listAuditRecords({ limit: PAGE, before: next }, { timeoutMs: 20_000 });
      setOlder({ records: [...(older?.records ?? []), ...page.records], next: page.next });
      setProblem(undefined);
    } catch (reason) {
      setProblem((reason as Error).message);
    }
  };
  const shown = error ?? problem;
  return (
    <>
      {shown !== undefined && <Problem>{said(shown)}</Problem>}
      <DataTable
        label="Audit records"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        order={{ key: 'sequence', descending: true }}
        empty={isLoading ? 'Asking…' : 'No record here.'}
      />
      <footer className="page-foot">
        <span className="note">{plural(records.length, 'record')}</span>
        <button type="button" onClick={() => void more()} disabled={next === 0n || records.length >= RECORDS_MAX}>
          Older ones
        </button>
        <button
          type="button"
          onClick={() => {
            setOlder(undefined);
            again();
          }}
        >
          Ask again
        </button>
        <CommandLine command={`marcher audit list${nodeId === undefined ? '' : ` --node ${nodeId}`}`} />
      </footer>
    </>
  );
}

function Verify({ calls }: Pick<OfNode, 'calls'>): ReactNode {
  const [result, setResult] = useState<VerifyAuditResponse | string | undefined>(undefined);
  const [isBusy, setBusy] = useState(false);
  const verify = async (): Promise<void> => {
    setBusy(true);
    try {
      setResult(await calls.audit.verifyAudit({}, { timeoutMs: 60_000 }));
    } catch (reason) {
      setResult((reason as Error).message);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <button type="button" onClick={() => void verify()} disabled={isBusy}>
        {isBusy ? 'Verifying…' : 'Verify the chain'}
      </button>
      <span role="status">
        {typeof result === 'string' && <Badge tone="bad">{said(result)}</Badge>}
        {typeof result === 'object' &&
          (result.findings.length === 0 ? (
            <Badge tone="good">{`${plural(result.records, 'record')}: as they were written`}</Badge>
          ) : (
            <Badge tone="bad">{said(result.findings.map(({ message }) => message).join('; '))}</Badge>
          ))}
      </span>
    </>
  );
}
