// SPDX-License-Identifier: Apache-2.0
/** A dialled connection for calls to another node: HTTP/2, which stands when its SETTINGS have come, and Connect on it. */
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { type DialOptions, dialMesh, type MeshTarget, UnheardError } from './mesh-dial.js';

export interface MeshSession {
  readonly http2: ClientHttp2Session;
  readonly socket: TLSSocket;
  /** What it was dialled by must not matter to calls: they go here, and nowhere else when this is closed. */
  transport(answerMaxBytes: number): Transport;
}

/** Who it is, the certificate says: this only fills the fields where HTTP wants one. */
const AUTHORITY = 'https://mesh.invalid';
/** While more is there, Node resets streams whose answer comes. Twice the largest answer (join-client.ts). */
const MEMORY_MIB = 64;
const HEADER_BYTES = 8 * 1024;
const HEADER_PAIRS = 32;
const SETTINGS_ENTRIES = 16;

/** What is spoken on it. */
export interface MeshProtocol {
  /** In ALPN. */
  readonly name: string;
  readonly memoryMib: number;
  /** Of the headers of an answer. */
  readonly headerBytes: number;
  /** Of one stream: what has come and was not read yet. */
  readonly windowBytes: number;
}

const CALLS: MeshProtocol = { name: 'h2', memoryMib: MEMORY_MIB, headerBytes: HEADER_BYTES, windowBytes: 65_535 };

/** Fails as dialMesh. */
export function openMeshSession(
  target: MeshTarget,
  options: DialOptions,
  { name, memoryMib, headerBytes, windowBytes }: MeshProtocol = CALLS,
): Promise<MeshSession> {
  return dialMesh(target, name, options, ({ socket, stands, failed }) => {
    const http2 = connectHttp2(AUTHORITY, {
      createConnection: () => socket,
      maxSessionMemory: memoryMib,
      maxSettings: SETTINGS_ENTRIES,
      maxHeaderListPairs: HEADER_PAIRS,
      maxReservedRemoteStreams: 0,
      settings: { enablePush: false, maxHeaderListSize: headerBytes, initialWindowSize: windowBytes },
    });
    // Also once it stands: whoever uses it learns by "close" that it is over, and its calls have failed.
    http2.on('error', failed);
    http2.once('close', () => failed(new UnheardError()));
    http2.once('remoteSettings', () => {
      stands({ http2, socket, transport: (answerMaxBytes) => transportOn(http2, answerMaxBytes) });
    });
  });
}

function transportOn(http2: ClientHttp2Session, readMaxBytes: number): Transport {
  return createGrpcTransport({
    baseUrl: AUTHORITY,
    readMaxBytes,
    acceptCompression: [],
    sessionManager: {
      authority: AUTHORITY,
      request: async (method, path, headers, options) =>
        http2.request({ ...headers, ':method': method, ':path': path }, options),
      notifyResponseByteRead: () => {},
    },
  });
}
