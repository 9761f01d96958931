// SPDX-License-Identifier: Apache-2.0

import type { Reach } from '@marcher/client/fleet';
import { type Certificate, CertificateSource } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { type ReactNode, useCallback, useMemo } from 'react';
import { AskedHead } from '../components/asked-head.js';
import { Badge, type Tone } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Facts, Panel } from '../components/panel.js';
import { useAnswer } from '../state/answer.js';
import { navigate, useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { clock, span, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import { importing, issuing, renewing, revoking } from '../writes/certificate-forms.js';
import { type Deeds, DoButton, useDeeds } from '../writes/deeds.js';

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

export default function Certificates(): ReactNode {
  const { route } = useConsole();
  const reach = useReach();
  const { atMs, mesh } = useFleet();
  const ask = useCallback(
    async (signal: AbortSignal) =>
      (await reach.entry.certificates.listCertificates({}, { signal, timeoutMs: 20_000 })).certificates,
    [reach],
  );
  const { value, error, isLoading, again } = useAnswer(ask);
  const { begin, dialog } = useDeeds(again);
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
  const shown = value?.find(({ name }) => name === route.name);
  const not = mesh === undefined ? 'Certificates are of a mesh, and this node is in none' : undefined;
  return (
    <>
      <AskedHead title="Certificates" note="of services, kept by all nodes" error={error} again={again}>
        <DoButton not={not} tone="primary" onClick={() => begin((actions) => issuing(actions, reach.entry))}>
          Issue
        </DoButton>
        <DoButton not={not} onClick={() => begin((actions) => importing(actions, reach.entry))}>
          Import
        </DoButton>
      </AskedHead>
      <DataTable
        label="Certificates"
        columns={columns}
        rows={rows}
        rowKey={({ certificate }) => certificate.name}
        open={({ certificate }) => navigate({ page: 'certificates', name: certificate.name, filter: route.filter })}
        order={{ key: 'until', descending: false }}
        empty={isLoading ? 'Asking…' : error === undefined ? 'There is no certificate of a service here.' : ''}
      />
      {shown !== undefined && (
        <Panel
          title={`Certificate ${said(shown.name)}`}
          side={<CertificateButtons certificate={shown} reach={reach} begin={begin} />}
        >
          <CertificateFacts certificate={shown} />
        </Panel>
      )}
      {route.name !== undefined && value !== undefined && shown === undefined && (
        <p className="note">There is no certificate {said(route.name)}.</p>
      )}
      {dialog}
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

function CertificateFacts({ certificate }: { readonly certificate: Certificate }): ReactNode {
  const { name, names, notBefore, notAfter, serial, fingerprint, issuer, keyType, revoked, written, writtenBy } =
    certificate;
  return (
    <>
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
    </>
  );
}

interface CertificateButtonsProps {
  readonly certificate: Certificate;
  readonly reach: Reach;
  readonly begin: Deeds['begin'];
}

function CertificateButtons({ certificate, reach, begin }: CertificateButtonsProps): ReactNode {
  const isIssued = certificate.source === CertificateSource.ISSUED;
  const not = isIssued ? undefined : 'It was imported: import the next one in its place';
  const calls = reach.entry;
  return (
    <span className="buttons">
      <DoButton not={not} onClick={() => begin((actions) => renewing(actions, calls, certificate))}>
        Renew
      </DoButton>
      {!isIssued && (
        <DoButton onClick={() => begin((actions) => importing(actions, calls, certificate.name))}>Replace</DoButton>
      )}
      <DoButton
        not={not ?? (certificate.revoked === undefined ? undefined : 'It is revoked')}
        tone="danger"
        onClick={() => begin((actions) => revoking(actions, calls, certificate))}
      >
        Revoke
      </DoButton>
      <DoButton
        tone="danger"
        onClick={() => begin((actions) => ({ title: '', make: () => actions.deleteCertificate(calls, certificate) }))}
      >
        Delete
      </DoButton>
    </span>
  );
}
