// SPDX-License-Identifier: Apache-2.0
/** What all nodes know of one. It is one register: whoever writes it writes it whole. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type NodeRecord as Message, NodeRecordSchema } from '@marcher/proto/marcher/mesh/v1/node_pb';
import { isNodeId } from '../identity/names.js';

/** The kind of the replicated object; its id is the node's. */
export const NODE_KIND = 'Node';
/** The group beside its existence. */
export const RECORD_GROUP = '1';

export type NodeRecord = Omit<Message, '$typeName' | '$unknown'>;

const CERTIFICATE_BYTES_MAX = 4_096;
export const FRAME_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 96;
/** With the one before, and one more: frames of their time are still about. */
export const CERTIFICATES_MAX = 3;

export function packNodeRecord(record: NodeRecord): Uint8Array {
  return toBinary(NodeRecordSchema, create(NodeRecordSchema, record));
}

/** undefined: it is none, or not that node's; who wrote it may have been anybody in the mesh. */
export function unpackNodeRecord(nodeId: string, bytes: Uint8Array): NodeRecord | undefined {
  try {
    const record = fromBinary(NodeRecordSchema, bytes);
    return record.nodeId === nodeId && isSound(record) ? record : undefined;
  } catch {
    return undefined;
  }
}

function isSound(record: NodeRecord): boolean {
  const { nodeId, certificates, frameKey, frameKeySignature } = record;
  return (
    isNodeId(nodeId) &&
    isRecordText(record) &&
    certificates.length > 0 &&
    certificates.length <= CERTIFICATES_MAX &&
    certificates.every(({ length }) => length > 0 && length <= CERTIFICATE_BYTES_MAX) &&
    frameKey.length === FRAME_KEY_BYTES &&
    frameKeySignature.length === SIGNATURE_BYTES
  );
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
const ADDRESS = /^(?:[0-9.]{7,15}|\[[0-9a-f:.]{2,45}\]):[1-9][0-9]{0,4}$/;

/** Whether these are texts that a record may have; that addresses can be reached is for others to see. */
export function isRecordText({
  name,
  meshAddress,
  gossipAddress,
}: Pick<NodeRecord, 'name' | 'meshAddress' | 'gossipAddress'>): boolean {
  return NAME.test(name) && ADDRESS.test(meshAddress) && ADDRESS.test(gossipAddress);
}

/** What the node's key signs, so that no other node, whose certificate is of another key, can call a frame key its own. */
export function frameKeyClaim(frameKey: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode('marcher frame key 1');
  const claim = new Uint8Array(text.length + frameKey.length);
  claim.set(text);
  claim.set(frameKey, text.length);
  return claim;
}
