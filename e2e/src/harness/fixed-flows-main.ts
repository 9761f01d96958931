// SPDX-License-Identifier: Apache-2.0
/**
 * Flows whose five-tuples are known and can come again: from a block of source ports, one flow each, and whom each of
 * them reaches. A flow that is opened again after a reset is a new one of the same five-tuple.
 */
import dgram from 'node:dgram';
import net from 'node:net';

export interface FixedFlowsSettings {
  readonly name: string;
  readonly kind: 'tcp' | 'udp';
  readonly host: string;
  readonly port: number;
  /** Source ports are this and those after it. */
  readonly firstPort: number;
  readonly count: number;
  readonly timeoutMs: number;
}

/** ask: whom does each flow reach? open: all of them anew; what was open is reset first. */
export type FixedFlowsCommand = 'ask' | 'open';

/** By flow, in order of source ports: the backend that has answered, or what went wrong. */
export interface FixedFlowsReport {
  readonly backends: readonly string[];
  readonly failures: readonly string[];
}

interface Flow {
  ask(id: string): Promise<string>;
  end(): void;
}

const openTcp = ({ host, port }: FixedFlowsSettings, localPort: number): Promise<Flow> =>
  new Promise((resolve, reject) => {
    let waiting: { resolve: (backend: string) => void; reject: (error: Error) => void } | undefined;
    let line = '';
    let failure: Error | undefined;
    const socket = net.connect({ host, port, localPort });
    const fail = (error: Error): void => {
      failure ??= error;
      reject(failure);
      waiting?.reject(failure);
    };
    socket.setNoDelay(true);
    socket.on('error', fail);
    socket.on('close', () => fail(new Error('closed')));
    socket.on('data', (data) => {
      line += data.toString('latin1');
      if (!line.includes('\n')) return;
      waiting?.resolve(line.split(' ')[1] ?? '');
      line = '';
    });
    socket.on('connect', () =>
      resolve({
        ask: (id) =>
          new Promise((answered, failed) => {
            waiting = { resolve: answered, reject: failed };
            if (failure === undefined) socket.write(`${id} 0\n`);
            else failed(failure);
          }),
        // No TIME_WAIT: the port is free again at once.
        end: () => socket.resetAndDestroy(),
      }),
    );
  });

const openUdp = ({ host, port }: FixedFlowsSettings, localPort: number): Promise<Flow> =>
  new Promise((resolve, reject) => {
    const socket = dgram.createSocket(net.isIPv6(host) ? 'udp6' : 'udp4');
    let waiting: { id: string; resolve: (backend: string) => void; reject: (error: Error) => void } | undefined;
    socket.on('error', (error) => {
      reject(error);
      waiting?.reject(error);
    });
    socket.on('message', (data) => {
      const [id, backend = ''] = data.toString('latin1').split(' ');
      if (id === waiting?.id) waiting?.resolve(backend);
    });
    socket.bind(localPort, () =>
      socket.connect(port, host, () =>
        resolve({
          ask: (id) =>
            new Promise((answered, failed) => {
              waiting = { id, resolve: answered, reject: failed };
              socket.send(`${id} `.padEnd(32, 'q'), (error) => error && failed(error));
            }),
          end: () => socket.close(),
        }),
      ),
    );
  });

const main = (settings: FixedFlowsSettings): void => {
  const { kind, firstPort, count, timeoutMs } = settings;
  let flows: (Flow | undefined)[] = [];
  let serial = 0;

  const within = async <T>(what: Promise<T>): Promise<T> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('no answer')), timeoutMs);
    });
    return Promise.race([what, late]).finally(() => clearTimeout(timer));
  };
  const open = async (): Promise<string[]> => {
    for (const flow of flows) flow?.end();
    const failures: string[] = [];
    flows = await Promise.all(
      Array.from({ length: count }, (_, i) =>
        within((kind === 'tcp' ? openTcp : openUdp)(settings, firstPort + i)).catch((error: Error) => {
          failures.push(`${firstPort + i}: ${error.message}`);
          return undefined;
        }),
      ),
    );
    return failures;
  };
  const ask = async (): Promise<FixedFlowsReport> => {
    const failures: string[] = [];
    serial += 1;
    const backends = await Promise.all(
      flows.map((flow, i) =>
        within(flow === undefined ? Promise.reject(new Error('not open')) : flow.ask(`${i}-${serial}`)).catch(
          (error: Error) => {
            failures.push(`${firstPort + i}: ${error.message}`);
            return '';
          },
        ),
      ),
    );
    return { backends, failures };
  };

  process.on('message', (command: FixedFlowsCommand) => {
    const run = async (): Promise<FixedFlowsReport> =>
      command === 'ask' ? ask() : { backends: [], failures: await open() };
    void run().then((report) => process.send?.(report));
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.({ ready: true });
};

if (process.argv[1] === import.meta.filename) main(JSON.parse(process.argv[2] ?? '{}') as FixedFlowsSettings);
