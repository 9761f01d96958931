// SPDX-License-Identifier: Apache-2.0
import { toJson } from '@bufbuild/protobuf';
import type { AgentClient } from '@marcher/client';
import {
  type StatusResponse,
  StatusResponseSchema,
  type SynCookieTraffic,
} from '@marcher/proto/marcher/v1/node_service_pb';
import { age, bytes, plural, timeMs } from '../output/quantity.js';
import { printable } from '../output/style.js';
import { formatTable } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { meshText } from './mesh.js';

export async function status(
  session: Session,
  options: TargetOptions & { output: 'text' | 'json' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const node = await agent.node.status({ withTraffic: true }, session.call(options));
  if (options.output === 'json') {
    await session.write(
      `${JSON.stringify(toJson(StatusResponseSchema, node, { alwaysEmitImplicit: true }), null, 2)}\n`,
    );
    return;
  }
  const { style } = session;
  const now = Date.now();
  const since = (time: Parameters<typeof timeMs>[0]): string => {
    const ms = timeMs(time);
    return ms === undefined ? '' : `, up ${age(now - ms)}`;
  };
  const state = node.draining ? style.yellow('draining') : node.ready ? style.green('ready') : style.red('not ready');
  const place = [node.region, node.country].filter((part) => part !== '').join('/');
  const lines: [string, string][] = [
    ['Node', `${printable(node.nodeName)}${place === '' ? '' : ` (${printable(place)})`}: ${state}`],
    ['Agent', `${node.version}, pid ${node.pid}${since(node.started)}, ${bytes(node.memoryBytes)}`],
  ];
  const { engine } = node;
  if (engine === undefined || !engine.running) {
    lines.push(['Engine', style.red(`not running${engine?.lastError ? `: ${printable(engine.lastError)}` : ''}`)]);
  } else {
    lines.push([
      'Engine',
      `${engine.version}, pid ${engine.pid}${since(engine.started)}, ${bytes(engine.memoryBytes)}, ` +
        `${plural(engine.workers, 'worker')}, ${plural(engine.restarts, 'restart')}${engine.adopted ? ', adopted' : ''}`,
    ]);
    if (engine.lastError !== '') lines.push(['', style.yellow(`last error: ${printable(engine.lastError)}`)]);
  }
  lines.push([
    'Config',
    `version ${node.configVersion}${node.configHash === '' ? '' : `, ${node.configHash.slice(0, 12)}`}`,
  ]);
  lines.push([
    'Serving',
    `${plural(node.services, 'service')}, ${plural(node.listeners, 'listener')}, ${plural(node.backends, 'backend')}`,
  ]);
  const mesh = await meshLine(session, agent, session.call(options));
  if (mesh !== undefined) lines.push(['Mesh', mesh]);
  for (const { name, mode, reason } of node.xdpInterfaces) {
    const text = `${printable(name)}: ${mode === '' ? 'not attached' : printable(mode)}${reason === '' ? '' : ` (${printable(reason)})`}`;
    lines.push(['XDP', mode === '' ? style.red(text) : text]);
  }
  for (const { name, tc, tcReason } of node.xdpInterfaces) {
    if (tc === '' && tcReason === '') continue;
    const text = `${printable(name)}: ${tc === '' ? 'not attached' : printable(tc)}${tcReason === '' ? '' : ` (${printable(tcReason)})`}`;
    lines.push(['tc', tc === '' ? style.red(text) : text]);
  }
  for (const { name, decapsulation } of node.xdpInterfaces) {
    if (decapsulation !== '')
      lines.push(['Unpacks', `${printable(name)}: IPIP and GUE by ${printable(decapsulation)}`]);
  }
  for (const { name, nat, natReason } of node.xdpInterfaces) {
    if (nat === '') continue;
    lines.push([
      'Open NAT',
      `${printable(name)}: ${printable(nat)}${natReason === '' ? '' : ` (${printable(natReason)})`}`,
    ]);
  }
  for (const { name, shaping, shapingReason } of node.xdpInterfaces) {
    if (shaping === '' && shapingReason === '') continue;
    const text = `${printable(name)}: ${shaping === '' ? 'none' : printable(shaping)}${shapingReason === '' ? '' : ` (${printable(shapingReason)})`}`;
    lines.push(['Shaping', shaping === '' ? style.yellow(text) : text]);
  }
  for (const { type, status: met, reason, message } of node.conditions) {
    const text = `${printable(reason || type)}${message === '' ? '' : `: ${printable(message)}`}`;
    lines.push([met ? 'Note' : 'Problem', met ? text : style.red(text)]);
  }
  await session.write(lines.map(([title, text]) => `${title.padEnd(8)} ${text}\n`).join('') + trafficText(node));
}

/** undefined: the node is in none, or its agent knows of none. */
async function meshLine(
  { style }: Session,
  agent: AgentClient,
  call: { timeoutMs: number },
): Promise<string | undefined> {
  try {
    const { mesh } = await agent.mesh.getMesh({}, call);
    if (mesh === undefined || mesh.meshId === '') return undefined;
    return mesh.admitted ? meshText(mesh) : style.yellow(meshText(mesh));
  } catch (error) {
    const { code, message } = error as Error & { readonly code?: unknown };
    return code === 'unimplemented' ? undefined : style.red(`not known: ${printable(message)}`);
  }
}

function trafficText({ traffic, xdpDrops, guard }: StatusResponse): string {
  if (traffic.length === 0) return '';
  const total = traffic.reduce((sum, tier) => sum + tier.bytes, 0n);
  const text = formatTable(
    [
      { title: 'TIER', value: ({ tier }) => tier },
      { title: 'SERVICES', value: ({ services }) => String(services), align: 'right' },
      { title: 'PACKETS-IN', value: ({ packets }) => String(packets), align: 'right' },
      { title: 'IN', value: (tier) => bytes(tier.bytes), align: 'right' },
      {
        title: 'SHARE-IN',
        value: (tier) => (total === 0n ? '-' : `${((Number(tier.bytes) / Number(total)) * 100).toFixed(1)}%`),
        align: 'right',
      },
      {
        title: 'OUT',
        value: ({ tier, bytesReturned }) => (tier === 'xdp' ? '-' : bytes(bytesReturned)),
        align: 'right',
      },
    ],
    traffic,
  );
  const dropped = xdpDrops.filter(({ packets }) => packets > 0n);
  const reasons = dropped.map(({ reason, packets }) => `${printable(reason)} ${packets}`).join(', ');
  return `\n${text}${dropped.length === 0 ? '' : `Dropped by XDP and tc: ${reasons}\n`}${cookiesText(guard?.synCookies)}`;
}

function cookiesText(cookies: SynCookieTraffic | undefined): string {
  if (cookies === undefined || (!cookies.active && cookies.sent === 0n)) return '';
  const now = cookies.active ? `active at ${cookies.synsPerSecond} SYNs/s` : 'not active now';
  const lines = [`SYN cookies by XDP: ${now}; ${cookies.sent} sent, ${cookies.valid} came back`, ...cookies.limits];
  return lines.map((line) => `${printable(line)}\n`).join('');
}
