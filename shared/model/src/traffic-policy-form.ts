// SPDX-License-Identifier: Apache-2.0
/** The file form of a TrafficPolicy: its shape, and the way to the message and back. */
import { create } from '@bufbuild/protobuf';
import {
  type Bandwidth,
  Ecn,
  Priority,
  type TrafficPolicy,
  TrafficPolicySchema,
} from '@marcher/proto/marcher/v1/model_pb';
import { z } from 'zod';
import { dscp, present, requiredBandwidth, requiredWhole64, size, text, whole64 } from './file-field.js';
import type { ObjectFile } from './file-shape.js';
import { compact, type Fields, nonEmpty, text as shownText, when } from './file-value.js';
import { printBandwidth, printDscp, printSize, printWhole64 } from './scalar.js';

export const PRIORITIES = ['P0', 'P1', 'P2', 'P3'] as const;
export const ECN_MODES = ['preserve', 'mark'] as const;

const bandwidth = z.strictObject({ rate: requiredBandwidth, burst: size });

export const trafficPolicyShape = z.strictObject({
  name: z.string(),
  priority: z.enum(PRIORITIES).optional(),
  ingress: bandwidth.optional(),
  egress: bandwidth.optional(),
  perConnection: z.strictObject({ ingress: bandwidth.optional(), egress: bandwidth.optional() }).optional(),
  connections: z.strictObject({ rate: requiredWhole64, burst: whole64 }).optional(),
  dscp,
  ecn: z.enum(ECN_MODES).optional(),
  cluster: text,
});

type TrafficPolicyShape = z.output<typeof trafficPolicyShape>;
type Init = NonNullable<Parameters<typeof create<typeof TrafficPolicySchema>>[1]>;

const PRIORITY = { P0: Priority.P0, P1: Priority.P1, P2: Priority.P2, P3: Priority.P3 } as const;
const ECN = { preserve: Ecn.PRESERVE, mark: Ecn.MARK } as const;

export function trafficPolicyFromFile(file: TrafficPolicyShape): TrafficPolicy {
  const init = present({
    name: file.name,
    priority: when(file.priority, (priority) => PRIORITY[priority]),
    ingress: when(file.ingress, present),
    egress: when(file.egress, present),
    connectionIngress: when(file.perConnection?.ingress, present),
    connectionEgress: when(file.perConnection?.egress, present),
    connections: when(file.connections, ({ rate, burst }) => present({ perSecond: rate, burst })),
    dscp: file.dscp,
    ecn: when(file.ecn, (ecn) => ECN[ecn]),
    cluster: file.cluster,
  });
  return create(TrafficPolicySchema, init as Init);
}

const PRIORITY_NAME: Readonly<Record<number, string>> = {
  [Priority.P0]: 'P0',
  [Priority.P1]: 'P1',
  [Priority.P2]: 'P2',
  [Priority.P3]: 'P3',
};
const ECN_NAME: Readonly<Record<number, string>> = { [Ecn.PRESERVE]: 'preserve', [Ecn.MARK]: 'mark' };

function bandwidthToFile({ rate, burst }: Bandwidth): Fields {
  return compact({ rate: printBandwidth(rate), burst: when(burst, printSize) });
}

export function trafficPolicyToFile(message: TrafficPolicy): ObjectFile {
  return compact({
    name: message.name,
    priority: PRIORITY_NAME[message.priority],
    ingress: when(message.ingress, bandwidthToFile),
    egress: when(message.egress, bandwidthToFile),
    perConnection: nonEmpty(
      compact({
        ingress: when(message.connectionIngress, bandwidthToFile),
        egress: when(message.connectionEgress, bandwidthToFile),
      }),
    ),
    connections: when(message.connections, ({ perSecond, burst }) =>
      compact({ rate: printWhole64(perSecond), burst: when(burst, printWhole64) }),
    ),
    dscp: when(message.dscp, printDscp),
    ecn: ECN_NAME[message.ecn],
    cluster: shownText(message.cluster),
  }) as ObjectFile;
}
