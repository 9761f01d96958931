// SPDX-License-Identifier: Apache-2.0
import { toJson } from '@bufbuild/protobuf';
import { StatusResponseSchema } from '@marcher/proto/marcher/v1/node_service_pb';
import { age, bytes, plural, timeMs } from '../output/quantity.js';
import { printable } from '../output/style.js';
import type { Session, TargetOptions } from '../session.js';

export async function status(
  session: Session,
  options: TargetOptions & { output: 'text' | 'json' },
): Promise<undefined> {
  const agent = await session.agent(options);
  const node = await agent.node.status({}, session.call(options));
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
  for (const { type, status: met, reason, message } of node.conditions) {
    const text = `${printable(reason || type)}${message === '' ? '' : `: ${printable(message)}`}`;
    lines.push([met ? 'Note' : 'Problem', met ? text : style.red(text)]);
  }
  await session.write(lines.map(([title, text]) => `${title.padEnd(8)} ${text}\n`).join(''));
}
