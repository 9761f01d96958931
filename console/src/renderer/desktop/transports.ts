// SPDX-License-Identifier: Apache-2.0
/** How calls leave the desktop's renderer: gRPC-Web by the official client to app://agent/NODE/SERVICE/METHOD, each with its mesh. */
import { createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@marcher/client/grpc-web';
import { throughNode } from '@marcher/client/through-node';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { MESH_HEADER } from '../../wire/call.js';
import type { TransportTo } from '../agents/transport.js';

/** base: the page's origin. */
export function desktopTransports(base: string, mesh: string): TransportTo {
  const ofMesh: Interceptor = (next) => async (request) => {
    request.header.set(MESH_HEADER, mesh);
    return await next(request);
  };
  return (node) => {
    const baseUrl = `${base}/${node}`;
    // The main process says by a header which node is meant; an agent of before would not look at it, and answer for itself.
    const unproven = createGrpcWebTransport({ baseUrl, interceptors: [ofMesh] });
    const interceptors = node === 'entry' ? [ofMesh] : [throughNode(node, createClient(MeshService, unproven)), ofMesh];
    return createGrpcWebTransport({ baseUrl, interceptors });
  };
}
