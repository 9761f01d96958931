// SPDX-License-Identifier: Apache-2.0
/** Certificates of services: how long they last. */
import {
  type Certificate,
  CertificateSource,
  CertificateUsage,
} from '@marcher/proto/marcher/v1/certificate_service_pb';
import { age, clock, timeMs } from '../../cli/output/quantity.js';
import type { Line } from '../theme/line.js';
import { field } from './shown.js';
import type { Sight, View } from './view.js';

const SOON_MS = 14 * 86_400_000;

export const certificates: View<Certificate> = {
  name: 'certificates',
  aliases: ['certificate', 'certs', 'cert'],
  help: 'certificates of services: those that end first at the top',
  subject: 'certificate',
  feed: 'certificates',
  timed: true,
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 12, max: 63, value: ({ name }) => name },
    {
      ...{ title: 'STATE', key: 'S', rank: 0, value: (certificate, { nowMs }) => stateText(certificate, nowMs) },
      tone: (text) => (text === 'valid' ? 'good' : text === 'ends soon' ? 'warn' : 'bad'),
    },
    {
      ...{
        title: 'LEFT',
        key: 'L',
        rank: 0,
        align: 'right',
        value: ({ notAfter }, { nowMs }) => leftText(timeMs(notAfter), nowMs),
      },
      order: ({ notAfter }) => timeMs(notAfter) ?? 0,
    },
    {
      title: 'RENEWS',
      key: 'R',
      rank: 2,
      value: ({ renews }) => (renews === undefined ? 'never' : clock(timeMs(renews)).slice(0, 10)),
    },
    {
      title: 'SOURCE',
      rank: 3,
      value: ({ source }) => (source === CertificateSource.IMPORTED ? 'imported' : 'issued'),
    },
    { title: 'KEY', rank: 4, value: ({ keyType, keyAvailable }) => `${keyType}${keyAvailable ? '' : ' (not here)'}` },
    { title: 'NAMES', rank: 1, min: 16, max: 80, value: ({ names }) => names.join(', ') },
  ],
  items: ({ feed }) => feed.items as readonly Certificate[],
  id: ({ name }) => name,
  label: ({ name }) => name,
  none: () => 'There are no certificates of services: n has one issued, :import brings one.',
  detail,
};

function stateText({ notAfter, revoked }: Certificate, nowMs: number): string {
  if (revoked !== undefined) return 'revoked';
  const left = (timeMs(notAfter) ?? 0) - nowMs;
  return left <= 0 ? 'expired' : left < SOON_MS ? 'ends soon' : 'valid';
}

/** In hours, as what counts seconds keeps a screen busy. */
function leftText(endMs: number | undefined, nowMs: number): string {
  if (endMs === undefined) return '-';
  return endMs <= nowMs ? '0s' : age(Math.floor((endMs - nowMs) / 3_600_000) * 3_600_000);
}

function detail(certificate: Certificate, { nowMs }: Sight): Line[] {
  return [
    field('Certificate', certificate.name, 'strong'),
    field('State', stateText(certificate, nowMs), stateText(certificate, nowMs) === 'valid' ? 'good' : 'warn'),
    field('Valid', `${clock(timeMs(certificate.notBefore))} to ${clock(timeMs(certificate.notAfter))}`),
    field('Renewed', certificate.renews === undefined ? 'not by itself' : `at ${clock(timeMs(certificate.renews))}`),
    field('For', (CertificateUsage[certificate.usage] ?? '-').toLowerCase()),
    field('Key', `${certificate.keyType}${certificate.keyAvailable ? '' : ', which this node can not open yet'}`),
    field('Issuer', certificate.issuer),
    field('Serial', certificate.serial),
    field('SHA-256', certificate.fingerprint),
    field('Written', `${clock(timeMs(certificate.written))} by ${certificate.writtenBy || '-'}`),
    ...certificate.names.map((name, index) => field(index === 0 ? 'Names' : '', name)),
  ];
}
