// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { canonicalSerial, serialFrom } from './certificate.js';
import {
  isMeshName,
  meshIdFrom,
  meshUri,
  nodeIdFrom,
  nodeNumber,
  nodeUri,
  parseMeshUri,
  parseNodeUri,
  trustDomain,
} from './names.js';

const meshId = 'ab'.repeat(16);
const nodeId = '00000000000000ff';

describe('names of nodes and meshes', () => {
  it('are read from the URIs that they are written as', () => {
    expect(parseNodeUri(nodeUri({ meshId, nodeId }))).toEqual({ meshId, nodeId });
    expect(parseMeshUri(meshUri(meshId))).toBe(meshId);
    expect(nodeNumber(nodeId)).toBe(255n);
  });

  it.each([
    `spiffe://${meshId}/node/${nodeId}/`,
    `spiffe://${meshId}/node/${nodeId}?x`,
    `spiffe://x@${meshId}/node/${nodeId}`,
    `https://${meshId}/node/${nodeId}`,
    `spiffe://${meshId}/node/${nodeId}\n`,
    `spiffe://${meshId}/node/../node/${nodeId}`,
    '',
  ])('are not read from %j', (uri) => {
    expect(parseNodeUri(uri)).toBeUndefined();
  });

  it("tell another mesh's or another software's trust domain", () => {
    expect(trustDomain('spiffe://cluster.local/ns/x')).toBe('cluster.local');
    expect(trustDomain('spiffe://cluster.local')).toBe('cluster.local');
    expect(trustDomain('https://cluster.local/')).toBeUndefined();
  });

  it('are made of random bytes, and no node is zero', () => {
    expect(meshIdFrom(new Uint8Array(16).fill(0xab))).toBe(meshId);
    expect(nodeIdFrom(new Uint8Array(8))).toBeUndefined();
    expect(nodeIdFrom(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 255))).toBe(nodeId);
    expect(() => nodeIdFrom(new Uint8Array(7))).toThrow(RangeError);
    expect(isMeshName('eu-1')).toBe(true);
    expect(isMeshName('a, CN=b')).toBe(false);
  });

  it('of certificates are positive serials with no zeros in front', () => {
    expect(serialFrom(new Uint8Array(16))).toBe('1');
    expect(serialFrom(Uint8Array.from({ length: 16 }, (_, at) => (at < 14 ? 0 : 0x0a)))).toBe('a0a');
    expect(canonicalSerial('00FF')).toBe('ff');
  });
});
