// SPDX-License-Identifier: Apache-2.0
import { toJson } from '@bufbuild/protobuf';
import { ServiceResourceSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import { BackendStatusSchema, TiersResponseSchema } from '@marcher/proto/marcher/v1/node_service_pb';
import { bytes, plural } from '../output/quantity.js';
import { printable } from '../output/style.js';
import { formatTable } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { backendColumns } from './get.js';
import { parseKind } from './kind.js';
import { algorithmText, forwardingText, healthCheckText, listenersText, loadText, policyText } from './services.js';

export async function explain(
  session: Session,
  options: TargetOptions & { output: 'text' | 'json' },
  kindText: string,
  name: string,
): Promise<undefined> {
  parseKind(kindText, ['services']);
  const agent = await session.agent(options);
  const call = session.call(options);
  const { resource } = await agent.config.get({ name }, call);
  const [tiers, { backends }] = await Promise.all([
    agent.node.tiers({ service: name }, call),
    agent.node.backends({ service: name }, call),
  ]);
  if (options.output === 'json') {
    const value = {
      resource: resource === undefined ? null : toJson(ServiceResourceSchema, resource),
      ...(toJson(TiersResponseSchema, tiers) as object),
      backends: backends.map((backend) => toJson(BackendStatusSchema, backend, { alwaysEmitImplicit: true })),
    };
    await session.write(`${JSON.stringify(value, null, 2)}\n`);
    return;
  }
  const { style } = session;
  const service = resource?.service;
  let text = `${style.bold(`service ${printable(name)}`)} (changed in version ${resource?.generation ?? '?'})\n`;
  text += `  listens on ${printable(listenersText(service))}, balance ${algorithmText(service)}${loadText(service)}, health check ${healthCheckText(service)}${forwardingText(service)}${printable(policyText(service))}\n`;
  for (const { type, status, reason, message } of resource?.conditions ?? []) {
    const mark = status ? style.green('yes') : style.red('no');
    text += `  ${type}: ${mark}${reason === '' ? '' : ` ${printable(reason)}`}${message === '' ? '' : `: ${printable(message)}`}\n`;
  }
  for (const { tier, reasons, fasterIf, xdpPackets, xdpBytes, bytesReturned } of tiers.services) {
    text += `\nCarried by tier ${style.bold(printable(tier))}, because\n`;
    text += reasons.map((reason) => `  - ${printable(reason)}\n`).join('');
    if (xdpPackets > 0n) {
      const returned = bytesReturned > 0n ? `, and returned ${bytes(bytesReturned)}` : '';
      text += `${tier === 'tc' ? 'tc' : 'XDP'} has forwarded ${plural(xdpPackets, 'packet')}, ${bytes(xdpBytes)}${returned}\n`;
    }
    if (fasterIf.length > 0) text += `Faster if\n${fasterIf.map((way) => `  - ${printable(way)}\n`).join('')}`;
  }
  if (tiers.tiers.length > 0) {
    text += '\nTiers of this node\n';
    text += formatTable(
      [
        { title: 'TIER', value: (tier) => `  ${tier.tier}` },
        { title: 'AVAILABLE', value: (tier) => (tier.available ? 'yes' : 'no') },
        { title: 'REASON', value: (tier) => tier.reason },
      ],
      tiers.tiers,
      false,
    );
  }
  if (backends.length > 0) {
    text += `\n${formatTable(
      backendColumns(session, true).filter(({ title }) => title !== 'SERVICE'),
      backends,
    )}`;
  }
  await session.write(text);
}
