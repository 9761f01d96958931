// SPDX-License-Identifier: Apache-2.0
/** The calls that are there for strangers. Everything that they are asked for comes from somebody unknown. */
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError, type ConnectRouter, type ContextKey, createContextKey } from '@connectrpc/connect';
import { NodeRecordSchema } from '@marcher/proto/marcher/mesh/v1/node_pb';
import { JoinService } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { rootMessage } from '../../../application/mesh/roots.js';
import { FRAME_KEY_BYTES, SIGNATURE_BYTES } from '../../../domain/mesh/node-record.js';
import type { Admit, JoinAnswer, JoinRequest, TellRoots } from '../../../ports/mesh.js';
import type { Hold } from '../../outbound/identity/mesh-listener.js';

export interface Stranger {
  /** The joiner's IP address. */
  readonly source: string;
  /** While what it gives has not been called, its connection is not ended for the sake of others. */
  readonly hold: Hold;
}

export const strangerKey: ContextKey<Stranger> = createContextKey<Stranger>(
  { source: '', hold: () => () => {} },
  { description: 'who joins' },
);

/** Of any call at the mesh port: a request to join is the largest. */
export const REQUEST_MAX_BYTES: number = 64 * 1024;
/** UTF-16 code units: a token is less than 1,000, a name a host's, an address "[IPv6]:port". */
const TEXT_MAX = { token: 1_000, name: 253, meshAddress: 60, gossipAddress: 60 } as const;
const FULL_RETRY_MS = 2_000;
const RETRY_MAX_MS = 2 ** 32 - 1;

export interface JoinServiceOptions {
  readonly admit: Admit;
  readonly roots: TellRoots;
  /** At once, also of those that have gone meanwhile: a certificate is signed for each. */
  readonly joinsMax: number;
  readonly refused: (source: string, reason: string) => void;
  /** admit has failed, which is this node's fault. */
  readonly failed: (source: string, error: unknown) => void;
}

export function routeJoinService(router: ConnectRouter, options: JoinServiceOptions): void {
  let joins = 0;
  const answerTo = async (request: JoinRequest, { source, hold }: Stranger): Promise<JoinAnswer> => {
    const fault = faultOf(request);
    if (fault !== undefined) return { kind: 'refused', reason: fault };
    if (joins >= options.joinsMax) {
      const reason = `${joins} others are joining by this node: try again in a moment`;
      return { kind: 'refused', reason, retryAfterMs: FULL_RETRY_MS };
    }
    joins += 1;
    // A token may be spent by it: the answer should come to somebody.
    const release = hold();
    try {
      return await options.admit(request, source);
    } catch (error) {
      options.failed(source, error);
      throw new ConnectError('the node could not take in another one: its log says why', Code.Internal);
    } finally {
      joins -= 1;
      release();
    }
  };
  router.service(JoinService, {
    async join(request, { values }) {
      const stranger = values.get(strangerKey);
      const { source } = stranger;
      const answer = await answerTo(request, stranger);
      if (answer.kind === 'granted') {
        const { grant } = answer;
        const value = {
          ...grant,
          roots: [...grant.roots],
          revocationLists: [...grant.revocationLists],
          gossipKeys: grant.gossipKeys.map((key) => Uint8Array.from(key)),
          nodes: grant.nodes.map((node) => create(NodeRecordSchema, node)),
        };
        return { answer: { case: 'granted' as const, value } };
      }
      const { reason, retryAfterMs } = answer;
      options.refused(source, reason);
      const retry = retryAfterMs === undefined ? {} : { retryAfterMs: Math.min(Math.ceil(retryAfterMs), RETRY_MAX_MS) };
      return { answer: { case: 'refused' as const, value: { reason, ...retry } } };
    },
    roots: () => ({ roots: options.roots().map(rootMessage) }),
  });
}

function faultOf(request: JoinRequest): string | undefined {
  if (request.token === '' || request.name === '') return 'it has no token or no name';
  for (const [field, most] of Object.entries(TEXT_MAX) as [keyof typeof TEXT_MAX, number][]) {
    const { length } = request[field];
    if (length > most) return `its ${field} has ${length} characters, and may have ${most}`;
  }
  if (request.frameKey.length !== FRAME_KEY_BYTES || request.frameKeySignature.length !== SIGNATURE_BYTES) {
    return 'it has no frame key, or no claim to it: upgrade the machine that wants to join';
  }
  return request.certificateRequest.length === 0 ? 'it has no certificate request' : undefined;
}
