// SPDX-License-Identifier: Apache-2.0
import type { PeerCredentialsPort } from './adapters/inbound/grpc/peer.js';
import type { Dataplane } from './ports/dataplane.js';
export interface OpenDataplaneOptions { readonly libraryPath: string; readonly enginePath: string; readonly runDir: string; readonly workers: number; readonly cpus: string | undefined; readonly logLevel: string }
export async function openDataplane(options: OpenDataplaneOptions): Promise<{ dataplane: Dataplane; peerCredentials: PeerCredentialsPort }> {
  const path = './adapters/outbound/dataplane/dataplane.js';
  const module = (await import(path)) as { openDataplane(options: OpenDataplaneOptions): Promise<{ dataplane: Dataplane; peerCredentials: PeerCredentialsPort }> };
  return module.openDataplane(options);
}
