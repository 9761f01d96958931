// SPDX-License-Identifier: Apache-2.0
import { type Certificate, CertificateSource } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { type ReactNode, useCallback, useMemo, useState } from 'react';
import { AskedHead } from '../components/asked-head.js';
import { Badge, type Tone } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Dialog } from '../components/dialog.js';
import { Facts } from '../components/panel.js';
import { useAnswer } from '../state/answer.js';
import { useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { clock, span, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';

/** An operator has the rest of the month for what is not renewed by itself. */
const SOON_MS = 30 * 86_400_000;

interface Row {
  readonly certificate: Certificate;
  readonly tone: Tone;
  readonly word: string;
}

const columns: readonly Column<Row>[] = [
  {
    key: 'name',
    title: 'Name',
    render: ({ certificate }) => said(certificate.name),
    value: ({ certificate }) => certificate.name,
  },
  {
    key: 'state',
    title: 'State',
    width: '130px',
    render: ({ tone, word }) => <Badge tone={tone}>{word}</Badge>,
    value: ({ word }) => word,
  },
  {
    key: 'names',
    title: 'For',
    width: 'minmax(0, 2fr)',
    render: ({ certificate }) => said(certificate.names.join(', ')),
  },
  {
    key: 'source',
    title: 'Source',
    width: '90px',
    render: ({ certificate }) => (certificate.source === CertificateSource.ISSUED ? 'issued' : 'imported'),
    value: ({ certificate }) => certificate.source,
  },
  {
    key: 'key',
    title: 'Key',
    width: '130px',
    render: ({ certificate }) => said(certificate.keyType),
    value: ({ certificate }) => certificate.keyType,
  },
  {
    key: 'until',
    title: 'Until',
    width: '170px',
    render: ({ certificate }) => clock(timeMs(certificate.notAfter)),
    value: ({ certificate }) => timeMs(certificate.notAfter) ?? 0,
  },
  {
    key: 'renews',
    title: 'Renewed',
    width: '170px',
    render: ({ certificate }) =>
      certificate.renews === undefined ? 'not by itself' : clock(timeMs(certificate.renews)),
    value: ({ certificate }) => timeMs(certificate.renews) ?? 0,
  },
];

export function Certificates(): ReactNode {
  const { reach, route } = useConsole();
  const { atMs } = useFleet();
  const ask = useCallback(
    async (signal: AbortSignal) =>
      (await reach.entry.certificates.listCertificates({}, { signal, timeoutMs: 20_000 })).certificates,
    [reach],
  );
  const { value, error, isLoading, again } = useAnswer(ask);
  const [shown, setShown] = useState<Certificate | undefined>(undefined);
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  // In steps of a minute: nothing here moves faster.
  const minute = Math.floor(atMs / 60_000) * 60_000;
  const rows = useMemo(
    () =>
      (value ?? [])
        .filter(({ name, names }) => filter.matches(`${name} ${names.join(' ')}`))
        .map((certificate): Row => {
          const [tone, word] = certificateState(certificate, minute);
          return { certificate, tone, word };
        }),
    [value, filter, minute],
  );
  return (
    <>
      <AskedHead title="Certificates" error={error} again={again} />
      <DataTable
        label="Certificates"
        columns={columns}
        rows={rows}
        rowKey={({ certificate }) => certificate.name}
        open={({ certificate }) => setShown(certificate)}
        order={{ key: 'until', descending: false }}
        empty={isLoading ? 'Asking…' : error === undefined ? 'There is no certificate of a service here.' : ''}
      />
      {shown !== undefined && <CertificateDialog certificate={shown} onClose={() => setShown(undefined)} />}
    </>
  );
}

export function certificateState(
  { revoked, notAfter, renews, keyAvailable }: Certificate,
  nowMs: number,
): readonly [Tone, string] {
  const left = (timeMs(notAfter) ?? 0) - nowMs;
  if (revoked !== undefined) return ['bad', 'revoked'];
  if (left <= 0) return ['bad', 'expired'];
  if (!keyAvailable) return ['warn', 'no key here'];
  if (left < SOON_MS && renews === undefined) return ['warn', `${span(left)} left`];
  return ['good', 'valid'];
}

function CertificateDialog({
  certificate,
  onClose,
}: {
  readonly certificate: Certificate;
  readonly onClose: () => void;
}): ReactNode {
  const { name, names, notBefore, notAfter, serial, fingerprint, issuer, keyType, revoked, written, writtenBy } =
    certificate;
  return (
    <Dialog title={`Certificate ${said(name)}`} onClose={onClose} wide>
      <Facts
        facts={[
          ['For', said(names.join(', '))],
          ['From', clock(timeMs(notBefore))],
          ['Until', clock(timeMs(notAfter))],
          ['Issuer', said(issuer)],
          ['Key', said(keyType)],
          ['Serial', <code key="serial">{serial}</code>],
          ['SHA-256', <code key="fingerprint">{fingerprint}</code>],
          ['Revoked', revoked === undefined ? 'no' : clock(timeMs(revoked))],
          ['Written', `${clock(timeMs(written))} by ${said(writtenBy)}`],
        ]}
      />
      <CommandLine command={`marcher certificate show ${name}`} />
      <footer className="dialog-foot">
        <button type="button" className="primary" onClick={onClose}>
          Close
        </button>
      </footer>
    </Dialog>
  );
}
