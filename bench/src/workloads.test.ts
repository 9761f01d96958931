// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseWrk } from './workloads.js';

const clean = `Running 1s test @ http://127.0.0.1:7101/
  1 threads and 50 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   636.21us  201.19us   5.62ms   93.05%
    Req/Sec    77.41k     3.11k   80.90k    90.91%
  84711 requests in 1.10s, 6.70MB read
Requests/sec:  77013.53
Transfer/sec:      6.09MB
`;

describe('what wrk prints', () => {
  test('requests and time', () => {
    expect(parseWrk(clean)).toMatchObject({ done: 84_711, seconds: 1.1, failed: 0 });
  });

  test('a longer run counts in minutes', () => {
    expect(parseWrk(clean.replace('1.10s', '1.50m')).seconds).toBe(90);
  });

  test('socket errors and bad statuses are failures', () => {
    const text = clean.replace(
      'Requests/sec',
      '  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\nRequests/sec',
    );
    expect(parseWrk(text).failed).toBe(15);
  });

  test('no summary is an error that shows what there was', () => {
    expect(() => parseWrk('unable to connect to 127.0.0.1:7101')).toThrow('unable to connect to 127.0.0.1:7101');
  });
});
