// SPDX-License-Identifier: Apache-2.0
import { toJson } from '@bufbuild/protobuf';
import { type Connection, ConnectionSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { age, bytes, timeMs } from '../output/quantity.js';
import { type Column, formatTable } from '../output/table.js';
import { type Session, type TargetOptions, wholeNumber } from '../session.js';

interface ConnectionsOptions extends TargetOptions {
  readonly limit: string;
  readonly output: 'table' | 'wide' | 'json';
}

export async function connections(session: Session, options: ConnectionsOptions, service?: string): Promise<undefined> {
  const limit = wholeNumber(options.limit, '--limit', 1, 10_000);
  const agent = await session.agent(options);
  const { connections: open, total } = await agent.traffic.listConnections(
    { service: service ?? '', limit },
    session.call(options),
  );
  if (options.output === 'json') {
    const json = open.map((connection) => toJson(ConnectionSchema, connection, { alwaysEmitImplicit: true }));
    await session.write(`${JSON.stringify({ total: Number(total), connections: json }, null, 2)}\n`);
    return;
  }
  if (open.length === 0) {
    process.stderr.write('There are no open connections.\n');
    return;
  }
  const now = Date.now();
  const wide = options.output === 'wide';
  const columns: Column<Connection>[] = [
    { title: 'SERVICE', value: (connection) => connection.service },
    { title: 'CLIENT', value: (connection) => connection.client },
    ...(wide ? ([{ title: 'LOCAL', value: (connection) => connection.local }] satisfies Column<Connection>[]) : []),
    { title: 'BACKEND', value: (connection) => connection.backend || '-' },
    ...(wide
      ? ([{ title: 'UPSTREAM', value: (connection) => connection.upstream || '-' }] satisfies Column<Connection>[])
      : []),
    { title: 'PROTO', value: (connection) => connection.transport },
    { title: 'AGE', value: ({ opened }) => age(now - (timeMs(opened) ?? now)), align: 'right' },
    { title: 'IDLE', value: ({ idleMs }) => age(Number(idleMs)), align: 'right' },
    { title: 'IN', value: ({ bytesReceived }) => bytes(bytesReceived), align: 'right' },
    { title: 'OUT', value: ({ bytesSent }) => bytes(bytesSent), align: 'right' },
    ...(wide
      ? ([
          { title: 'WORKER', value: ({ worker }) => String(worker), align: 'right' },
          { title: 'ID', value: ({ id }) => String(id), align: 'right' },
        ] satisfies Column<Connection>[])
      : []),
    { title: 'STATE', value: (connection) => connection.state },
  ];
  await session.write(formatTable(columns, open));
  if (total > BigInt(open.length))
    process.stderr.write(`${open.length} of ${total} connections: raise --limit, or name a service\n`);
}
