// SPDX-License-Identifier: Apache-2.0
/**
 * Which tier carries a service, and why. The need-mask is what the configuration asks for; a tier fits when it can do
 * all of that and the node offers it. This build has one tier, the engine's relay, and says so.
 */
import { Algorithm, Protocol, ProxyProtocolVersion, type Service } from '@marcher/model';

export type Tier = 'xdp' | 'tc' | 'relay' | 'l7';

export interface Classification {
  readonly tier: Tier;
  readonly reasons: string[];
  /** What to change so that a faster tier would fit, once the node offers one. */
  readonly fasterIf: string[];
}

interface Need {
  readonly needs: boolean;
  readonly reason: string;
  readonly faster: string;
}

export const TIERS: readonly { tier: Tier; available: boolean; reason: string }[] = [
  { tier: 'xdp', available: false, reason: 'this version has no XDP programs' },
  { tier: 'tc', available: false, reason: 'this version has no tc programs' },
  { tier: 'relay', available: true, reason: 'the engine relays TCP and UDP' },
  { tier: 'l7', available: false, reason: 'this version does not read HTTP or TLS' },
];

function needs(service: Service): Need[] {
  const { listeners, backends, balance, limits } = service;
  const tcp = listeners.some((listener) => listener.protocol !== Protocol.UDP);
  return [
    {
      needs: listeners.some((listener) => listener.acceptProxyFrom.length > 0),
      reason: 'listeners[].acceptProxyFrom: a PROXY protocol header is read from the connection',
      faster: 'without acceptProxyFrom, packets could pass unread',
    },
    {
      needs: backends.some((backend) => backend.sendProxy !== ProxyProtocolVersion.UNSPECIFIED),
      reason: 'backends[].sendProxy: a PROXY protocol header is written into the connection',
      faster: 'without sendProxy; a packet tier keeps the client address anyway',
    },
    {
      needs: backends.some((backend) => backend.address.startsWith('unix:')),
      reason: 'backends[].address: a Unix socket is reached by copying, not by forwarding packets',
      faster: 'with backends that listen on an IP address',
    },
    {
      needs: limits?.maxConnections !== undefined || limits?.maxConnectionsPerSource !== undefined,
      reason: 'limits: connections are counted exactly, from opening to end',
      faster: 'without connection limits, or with packet-rate limits in their place',
    },
    {
      needs: balance?.algorithm === Algorithm.LEAST_CONNECTIONS || balance?.algorithm === Algorithm.GEO,
      reason: 'balance.algorithm: picking by load needs each connection to be followed to its end',
      faster: 'with algorithm maglev, which needs no connection state',
    },
    {
      needs: tcp && service.outlier !== undefined && service.outlier.enabled !== false,
      reason: 'outlier: failed connects are seen only by who makes the connection',
      faster: 'without outlier detection; active health checks work on every tier',
    },
  ];
}

export function classify(service: Service): Classification {
  const present = needs(service).filter((need) => need.needs);
  return {
    tier: 'relay',
    reasons: [
      ...present.map((need) => need.reason),
      ...(present.length === 0
        ? ['nothing in the configuration needs more than packet forwarding, but this version has no faster tier']
        : []),
    ],
    fasterIf: [
      ...present.map((need) => need.faster),
      'the node offered XDP or tc, which this version does not have yet',
    ],
  };
}
