// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ForwardingMode, Protocol, ServiceSchema } from '@marcher/model';
import { describe, expect, it } from 'vitest';
import { segmentAdvice } from './segment-advice.js';

const service = (mode: ForwardingMode, addresses: string[], options: { vips?: string[]; protocol?: Protocol } = {}) =>
  create(ServiceSchema, {
    name: 'web',
    listeners: (options.vips ?? ['192.0.2.1']).map((address) => ({
      address,
      protocol: options.protocol ?? Protocol.TCP,
      ports: [{ first: 80, last: 80 }],
    })),
    forwarding: { mode },
    backends: addresses.map((address, i) => ({ name: `b${i + 1}`, address })),
  });

const ways = (...mtus: number[]) => new Map(mtus.map((mtu, i) => [`b${i + 1}`, mtu]));
const advised = (text: string | undefined) =>
  Array.from(text?.matchAll(/advmss (\d+)/g) ?? [], ([, mss]) => Number(mss));

describe('what backends are to advise clients of', () => {
  it.each([
    ['IPv4 in IPv4', ForwardingMode.IPIP, '10.0.0.1', '192.0.2.1', 1440],
    ['IPv4 in IPv6', ForwardingMode.IPIP, 'fd00::1', '192.0.2.1', 1420],
    ['IPv6 in IPv6', ForwardingMode.IPIP, 'fd00::1', '2001:db8::1', 1400],
    ['IPv4 in GUE over IPv4', ForwardingMode.GUE, '10.0.0.1', '192.0.2.1', 1432],
    ['IPv6 in GUE over IPv4', ForwardingMode.GUE, '10.0.0.1', '2001:db8::1', 1412],
    ['IPv6 in GUE over IPv6', ForwardingMode.GUE, 'fd00::1', '2001:db8::1', 1392],
  ])('%s leaves room for its headers', (_, mode, backend, vip, mss) => {
    const [text, ...others] = segmentAdvice(service(mode, [backend], { vips: [vip] }), ways(1500));
    expect(others).toEqual([]);
    expect(advised(text)).toEqual([mss]);
    expect(text).toContain(vip.includes(':') ? 'ip -6 route change' : 'ip route change');
    expect(text).toContain('b1');
  });

  it('both families of listeners get their command', () => {
    const vips = ['192.0.2.1', '2001:db8::1'];
    const [text] = segmentAdvice(service(ForwardingMode.GUE, ['10.0.0.1'], { vips }), ways(1500));
    expect(advised(text)).toEqual([1432, 1412]);
  });

  it('backends with ways of one size are told of together, others apart', () => {
    const lines = segmentAdvice(
      service(ForwardingMode.IPIP, ['10.0.0.1', '10.0.0.2', '10.0.0.3']),
      ways(1500, 1400, 1500),
    );
    expect(lines.map((line) => [line.match(/way to ([^:]*?), \d+ are/)?.[1], advised(line)])).toEqual([
      ['b1, b3', [1440]],
      ['b2', [1340]],
    ]);
  });

  it('many names are counted, not listed', () => {
    const addresses = Array.from({ length: 9 }, (_, i) => `10.0.0.${i + 1}`);
    const [text] = segmentAdvice(service(ForwardingMode.IPIP, addresses), ways(...addresses.map(() => 1500)));
    expect(text).toContain('b5 and 4 more');
  });

  it('says nothing where nothing is put before packets, of UDP alone, or of ways that are not known', () => {
    expect(segmentAdvice(service(ForwardingMode.L2, ['10.0.0.1']), ways(1500))).toEqual([]);
    expect(segmentAdvice(service(ForwardingMode.NAT, ['10.0.0.1']), ways(1500))).toEqual([]);
    expect(segmentAdvice(service(ForwardingMode.RELAY, ['10.0.0.1']), ways(1500))).toEqual([]);
    expect(segmentAdvice(service(ForwardingMode.IPIP, ['10.0.0.1'], { protocol: Protocol.UDP }), ways(1500))).toEqual(
      [],
    );
    expect(segmentAdvice(service(ForwardingMode.IPIP, ['10.0.0.1']), ways(0))).toEqual([]);
    expect(segmentAdvice(service(ForwardingMode.IPIP, ['10.0.0.1']), new Map())).toEqual([]);
    expect(segmentAdvice(service(ForwardingMode.IPIP, ['10.0.0.1']), ways(64))).toEqual([]);
  });
});
