// SPDX-License-Identifier: Apache-2.0
/**
 * Which tier carries a service, and why. The need-mask is what the configuration asks for; a tier fits when it can do
 * all of that and the node offers it. A service is given to XDP or tc only when its configuration says how
 * (forwarding.mode): backends or routes must be made ready for that, which nobody can see from here.
 */
import { Algorithm, Priority, Protocol, ProxyProtocolVersion, type Service, type TrafficPolicy } from '@marcher/model';
import { hindrances, isAuto, isNat, isSourceNat, modeName, packetModeOf } from './packet-service.js';
import { type Steering, steeredText, unsteerable } from './steering.js';
import { answersPassBy, limitsAnswers } from './traffic-policy.js';

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

/** What a tier of this node is good for at the moment. */
export interface TierOffer {
  readonly tier: Tier;
  readonly available: boolean;
  readonly reason: string;
}

export interface PacketOffer {
  readonly available: boolean;
  /** Where it is attached, or why it is not available and how it would be. */
  readonly reason: string;
  /** What would make it faster, such as a driver that runs it natively. */
  readonly fasterIf: readonly string[];
  /** Of tc, while it carries services: by what their open flows are carried, and where. */
  readonly openFlows?: string;
}

export interface PacketOffers {
  readonly xdp: PacketOffer;
  readonly tc: PacketOffer;
}

/** All tiers, the fastest first. */
export function tiersOf({ xdp, tc }: PacketOffers): TierOffer[] {
  return [
    { tier: 'xdp', available: xdp.available, reason: xdp.reason },
    { tier: 'tc', available: tc.available, reason: tc.reason },
    { tier: 'relay', available: true, reason: 'the engine relays TCP and UDP' },
    { tier: 'l7', available: false, reason: 'this version does not read HTTP or TLS' },
  ];
}

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

const HOW: Readonly<Record<string, string>> = {
  ipip: 'packets go to the backend inside another IP header',
  gue: 'packets go to the backend inside a UDP datagram',
  l2: "packets go to the backend's Ethernet address",
  nat: "packets go to the backend's address and port, and its answers come back through this node",
};

/** What the policy that the service names is in a packet tier. */
function policyReasons(service: Service, policy: TrafficPolicy | undefined): string[] {
  if (policy === undefined) return [];
  const reasons: string[] = [];
  const { name, ingress, connectionIngress, priority } = policy;
  const rates = ingress !== undefined || connectionIngress !== undefined || (isNat(service) && limitsAnswers(policy));
  if (rates) {
    const where = isNat(service) ? ' where no queue of the way out can have them wait' : ', not delayed';
    reasons.push(`trafficPolicy ${name}: packets over its rates are dropped${where}`);
  }
  if (limitsAnswers(policy) && answersPassBy(service)) {
    reasons.push(`trafficPolicy ${name}: its egress rates are not held, since backends answer past this node`);
  }
  if (!isNat(service) && priority !== Priority.UNSPECIFIED && priority !== Priority.P2) {
    reasons.push(`trafficPolicy ${name}: its priority orders nothing, since XDP sends past the kernel's queues`);
  }
  return reasons;
}

/** XDP has no queue where packets could wait, so that it leaves services with a policy to tc. */
function openFlowReasons({ openFlows }: PacketOffer, policy: TrafficPolicy | undefined): string[] {
  if (openFlows === undefined) return [];
  if (policy === undefined) return [openFlows];
  return [`trafficPolicy ${policy.name}: flows that are open stay with tc, where packets can wait`];
}

/** Of a service that asks for packets to be passed on. */
function classifyPackets(service: Service, offers: PacketOffers, policy: TrafficPolicy | undefined): Classification {
  const mode = modeName(service);
  const tier = isNat(service) ? 'tc' : 'xdp';
  const name = isNat(service) ? 'tc' : 'XDP';
  const offer = offers[tier];
  if (!offer.available) {
    return {
      tier: 'relay',
      reasons: [`forwarding.mode ${mode} asks for ${name}, which is not available: ${offer.reason}`],
      fasterIf: [`${name} was available`],
    };
  }
  const how = isNat(service)
    ? `${HOW['nat']}${isSourceNat(service) ? ", under this node's address" : ''}`
    : `${HOW[mode]}, and it answers the client directly`;
  const direct =
    'with forwarding.mode ipip, gue or l2, where backends answer past this node, if they are made ready for it';
  return {
    tier,
    reasons: [
      `forwarding.mode ${mode}: ${how}`,
      offer.reason,
      ...openFlowReasons(offer, policy),
      ...policyReasons(service, policy),
    ],
    fasterIf: [...offer.fasterIf, ...(isNat(service) ? [direct] : [])],
  };
}

/** mode auto, for what only the relay does. */
function classifyHindered(found: readonly string[]): Classification {
  return {
    tier: 'relay',
    reasons: found.map((hindrance) => `forwarding.mode auto: not tc, for ${hindrance}`),
    fasterIf: ['without these'],
  };
}

function steered(service: Service, steering: Steering): { reasons: string[]; fasterIf: string[] } {
  const text = steeredText(service);
  if (text === undefined) return { reasons: [], fasterIf: [] };
  if (steering.on) {
    return { reasons: [`listeners: sk_lookup has one socket per worker serve ${text}`], fasterIf: [] };
  }
  const unserved = unsteerable(service).join(', ');
  const what = unserved === '' ? 'each port has sockets of its own' : `${unserved} is not served`;
  return { reasons: [], fasterIf: [`sk_lookup was available (${what} until then): ${steering.reason}`] };
}

/** undefined: forwarding.mode relay, as by default. */
function classifyAsked(
  service: Service,
  offers: PacketOffers,
  policy: TrafficPolicy | undefined,
): Classification | undefined {
  if (isAuto(service) && hindrances(service).length > 0) return classifyHindered(hindrances(service));
  return packetModeOf(service) === undefined ? undefined : classifyPackets(service, offers, policy);
}

/** policy: what the service's trafficPolicy names. */
export function classify(
  service: Service,
  offers: PacketOffers,
  steering: Steering,
  policy?: TrafficPolicy,
): Classification {
  const listening = steered(service, steering);
  const asked = classifyAsked(service, offers, policy);
  if (asked !== undefined) {
    if (asked.tier !== 'relay') return asked;
    return {
      ...asked,
      reasons: [...asked.reasons, ...listening.reasons],
      fasterIf: [...asked.fasterIf, ...listening.fasterIf],
    };
  }
  const present = needs(service).filter((need) => need.needs);
  const packets =
    'with forwarding.mode auto or nat, or with forwarding.mode ipip, gue or l2 and backends that are made ready for it';
  return {
    tier: 'relay',
    reasons: [
      ...(present.length > 0
        ? present.map((need) => need.reason)
        : ['nothing in the configuration needs more than packet forwarding, but forwarding.mode is relay']),
      ...listening.reasons,
    ],
    fasterIf: [
      ...present.map((need) => need.faster),
      ...listening.fasterIf,
      packets,
      ...(offers.xdp.available ? [] : [`XDP was available: ${offers.xdp.reason}`]),
    ],
  };
}
