// SPDX-License-Identifier: Apache-2.0
/** What runs in the page of grpc-web-browser.test.ts: calls by the official gRPC-Web client, and what they came to. */
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@marcher/client/grpc-web';
import { ConfigService, ValidationFailureSchema } from '@marcher/proto/marcher/v1/config_service_pb';

const config = createClient(ConfigService, createGrpcWebTransport({ baseUrl: '/agent/one' }));
/** Ends its streams soon. */
const brief = createClient(
  ConfigService,
  createGrpcWebTransport({ baseUrl: '/agent/one', streamMaxBytes: 1_000, streamMinMs: 0 }),
);
const nowhere = createClient(ConfigService, createGrpcWebTransport({ baseUrl: '/agent/gone' }));

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly paths: readonly string[];
  readonly trailers: readonly string[];
}

async function failure(call: Promise<unknown>): Promise<Failure> {
  try {
    await call;
  } catch (reason) {
    const error = ConnectError.from(reason);
    return {
      code: Code[error.code],
      message: error.rawMessage,
      paths: error.findDetails(ValidationFailureSchema).flatMap(({ violations }) => violations.map(({ path }) => path)),
      trailers: [...error.metadata.keys()],
    };
  }
  throw new Error('expected a failure');
}

interface Watching {
  readonly abort: AbortController;
  /** Names of what came, and when; the last is "end" or why not. */
  readonly heard: { what: string; atMs: number }[];
  readonly ended: Promise<void>;
}

const watches: Watching[] = [];

function startWatch(client: typeof config): number {
  const abort = new AbortController();
  const heard: Watching['heard'] = [];
  const hear = (what: string): void => void heard.push({ what, atMs: performance.now() });
  const ended = (async () => {
    try {
      for await (const { event } of client.watch({}, { signal: abort.signal })) {
        hear(event.case === 'upsert' ? (event.value.service?.name ?? '') : String(event.case));
      }
      hear('end');
    } catch (reason) {
      const { code, rawMessage } = ConnectError.from(reason);
      hear(`${Code[code]}: ${rawMessage}`);
    }
  })();
  return watches.push({ abort, heard, ended }) - 1;
}

function watching(index: number): Watching {
  const found = watches[index];
  if (found === undefined) throw new Error(`there is no watch ${index}`);
  return found;
}

const calls = {
  async apply(...names: string[]) {
    let header: string[] = [];
    let trailer: string[] = [];
    const { version } = await config.apply(
      { change: { upsert: names.map((name) => ({ name })) } },
      {
        onHeader: (headers) => {
          header = [...headers.keys()];
        },
        onTrailer: (trailers) => {
          trailer = [...trailers.keys()];
        },
      },
    );
    return { version: String(version), header, trailer };
  },
  async large(name: string) {
    const { resource } = await config.get({ name });
    const labels = Object.entries(resource?.service?.labels ?? {});
    return {
      labels: labels.length,
      characters: labels.reduce((sum, [key, value]) => sum + key.length + value.length, 0),
    };
  },
  invalid: () => failure(config.apply({ change: { upsert: [{ name: 'No name' }] } })),
  missing: (name: string) => failure(config.get({ name })),
  late: (timeoutMs: number) => failure(config.apply({ change: { upsert: [{ name: 'late' }] } }, { timeoutMs })),
  aborted() {
    const abort = new AbortController();
    const call = failure(config.apply({ change: { upsert: [{ name: 'late' }] } }, { signal: abort.signal }));
    setTimeout(() => abort.abort(), 20);
    return call;
  },
  unserved: () => failure(nowhere.get({ name: 'web' })),
  startWatch: () => startWatch(config),
  startBriefWatch: () => startWatch(brief),
  heard: (index: number) => watching(index).heard,
  async abortWatch(index: number) {
    watching(index).abort.abort();
    await watching(index).ended;
    return watching(index).heard;
  },
  async ended(index: number) {
    await watching(index).ended;
    return watching(index).heard;
  },
};

export type Calls = typeof calls;
Object.assign(globalThis, { calls });
