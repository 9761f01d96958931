// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { consoleArguments } from './console-arguments.js';
import { Failure } from './failure.js';

test.each([
  [[], {}],
  [['-t', 'prod'], { target: 'prod' }],
  [['--target=prod', '--record', 'a.jsonl'], { target: 'prod', record: 'a.jsonl' }],
  [['--replay=a.jsonl'], { replay: 'a.jsonl' }],
  [
    ['--ca-file', 'ca.crt', '-t', 'https://192.0.2.1:7443', '--token-file', 'token'],
    { target: 'https://192.0.2.1:7443', caFile: 'ca.crt', tokenFile: 'token' },
  ],
])('%j opens the console', (args, expected) => {
  expect(consoleArguments(args)).toEqual(expected);
});

test.each([[['status']], [['-t', 'prod', 'status']], [['--help']], [['--version']], [['-t']], [['--wrong']]])(
  '%j is for the command line',
  (args) => {
    expect(consoleArguments(args)).toBeUndefined();
  },
);

test.each([
  [['--record']],
  [['--replay=']],
  [['--replay', 'a.jsonl', '-t', 'prod']],
  [['--replay', 'a', '--record', 'b']],
])('%j is for the console, and wrong', (args) => {
  expect(() => consoleArguments(args)).toThrow(Failure);
});
