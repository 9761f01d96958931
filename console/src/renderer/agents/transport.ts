// SPDX-License-Identifier: Apache-2.0
/**
 * How calls leave the renderer: gRPC-Web to BASE/agent/NODE/SERVICE/METHOD, with BASE the gateway that has served the page. The one
 * place that knows which client does it.
 */
import { createClient, type Transport } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@connectrpc/connect-web';
import { throughNode } from '@marcher/client/through-node';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { StreamChannel } from './channel.js';

/** node: "entry", or a node's id. */
export type TransportTo = (node: string) => Transport;

export function gatewayTransports(base: string): TransportTo {
  const fetch: typeof globalThis.fetch = (input, init) =>
    globalThis.fetch(input, { ...init, credentials: 'same-origin' });
  const channel = new StreamChannel(fetch, base);
  return (node) => {
    const baseUrl = `${base}/agent/${node}`;
    // The gateway says by a header which node is meant; an agent of before would not look at it, and answer for itself.
    const unproven = createGrpcWebTransport({ baseUrl, fetch });
    const interceptors = node === 'entry' ? [] : [throughNode(node, createClient(MeshService, unproven))];
    const unary = createGrpcWebTransport({ baseUrl, fetch, interceptors });
    const streams = createGrpcWebTransport({ baseUrl, fetch: channel.fetch, interceptors });
    return { unary: unary.unary.bind(unary), stream: streams.stream.bind(streams) };
  };
}
