// SPDX-License-Identifier: Apache-2.0
/**
 * From declared services to what the packet tiers forward (marcher.packet.v1.Table). The same facts give the same bytes,
 * so that a table that says nothing new is known by comparing.
 */
import { create } from '@bufbuild/protobuf';
import { type Backend, type Bandwidth, Ecn, ForwardingMode, type Service, type TrafficPolicy } from '@marcher/model';
import {
  Forwarding,
  type Service as PacketService,
  type Vip as PacketVip,
  type Policy,
  PolicySchema,
  type Rate,
  RateSchema,
  ServiceSchema,
  Transport,
  VipSchema,
} from '@marcher/proto/marcher/packet/v1/packet_pb';
import { parseTarget } from './address.js';
import { burstOf, priorityNumber } from './compile.js';
import { DEFAULTS } from './defaults.js';
import { guePortOf, isAuto, isSourceNat, packetModeOf, ringSizeOf, type Vip, vipsOf } from './packet-service.js';
import { packetQuic, quicServerId } from './quic.js';
import { backendName } from './validate.js';

const NO_BYTES = new Uint8Array(0);

const FORWARDING = {
  [ForwardingMode.IPIP]: Forwarding.IPIP,
  [ForwardingMode.GUE]: Forwarding.GUE,
  [ForwardingMode.L2]: Forwarding.L2,
  [ForwardingMode.NAT]: Forwarding.NAT,
} as const;

/** How a service is on this node, beyond what is declared. */
export interface Standing {
  readonly nodeDraining: boolean;
  /** Taken out of service on this node. */
  drained(backend: string): boolean;
  /** By active probes; without any a backend counts as healthy. */
  unhealthy(backend: string): boolean;
}

function weightOf(backend: Backend): number {
  return backend.weight ?? DEFAULTS.weight;
}

function rateOf(bandwidth: Bandwidth | undefined): Rate | undefined {
  return bandwidth && create(RateSchema, { perSecond: bandwidth.rate, burst: burstOf(bandwidth) });
}

/** answered: answers come back through this node. */
function packetPolicy(policy: TrafficPolicy, answered: boolean): Policy {
  const { connections, dscp } = policy;
  return create(PolicySchema, {
    priority: priorityNumber(policy.priority),
    ingress: rateOf(policy.ingress),
    egress: answered ? rateOf(policy.egress) : undefined,
    flowIngress: rateOf(policy.connectionIngress),
    flowEgress: answered ? rateOf(policy.connectionEgress) : undefined,
    flows: connections && { perSecond: connections.perSecond, burst: connections.burst ?? connections.perSecond },
    setDscp: dscp !== undefined,
    dscp: dscp ?? 0,
    ecnMark: policy.ecn === Ecn.MARK,
  });
}

export function packetVip({ address, prefixLength, udp, port }: Vip): PacketVip {
  return create(VipSchema, { address, prefixLength, port, transport: udp ? Transport.UDP : Transport.TCP });
}

/**
 * policy: what the service's trafficPolicy names.
 *
 * Drained backends and those of weight 0 keep their flows; unhealthy ones lose them. When the share of healthy ones falls
 * below the panic threshold, health says nothing more: the engine's rule (dataplane-c/src/engine/view.c).
 */
export function packetService(service: Service, standing: Standing, policy?: TrafficPolicy): PacketService {
  const mode = packetModeOf(service);
  if (mode === undefined) throw new Error(`service ${service.name} is not forwarded by packets`);
  const candidate = (backend: Backend): boolean =>
    weightOf(backend) > 0 && !backend.drain && !standing.drained(backendName(backend));
  let candidates = 0;
  let healthy = 0;
  for (const backend of service.backends) {
    if (!candidate(backend)) continue;
    candidates++;
    if (!standing.unhealthy(backendName(backend))) healthy++;
  }
  const panic = healthy < candidates && healthy * 100 < candidates * (service.balance?.panicThresholdPercent ?? 0);
  return create(ServiceSchema, {
    name: service.name,
    vips: Array.from(vipsOf(service), packetVip),
    forwarding: FORWARDING[mode],
    guePort: mode === ForwardingMode.GUE ? guePortOf(service) : 0,
    ringSize: ringSizeOf(service),
    sourceNat: isSourceNat(service),
    relayedToo: isAuto(service),
    sourceOnly: service.balance?.affinity !== undefined,
    policy: policy && packetPolicy(policy, mode === ForwardingMode.NAT),
    quic: packetQuic(service),
    backends: service.backends.map((backend) => {
      const name = backendName(backend);
      const target = parseTarget(backend.address);
      if (target.kind !== 'ip') throw new Error(`not an IP address: ${backend.address}`);
      const dead = !panic && standing.unhealthy(name);
      return {
        name,
        address: target.address,
        port: mode === ForwardingMode.NAT ? target.port : 0,
        weight: weightOf(backend),
        quicServerId: quicServerId(backend.quicServerId) ?? NO_BYTES,
        usable: candidate(backend) && !standing.nodeDraining && !dead,
        dead,
      };
    }),
  });
}
