// SPDX-License-Identifier: Apache-2.0
/**
 * Who answers, how often, and whether that is what the weights say.
 *
 * A backend identifies itself by the first line of its answer, or by what --match finds in it. The verdict is Pearson's
 * chi-square test at --significance. Round robin is more even than chance, which passes; affinity is not, which fails.
 */
import { ExitCode } from '../exit-code.js';
import { usage } from '../failure.js';
import { formatTable } from '../output/table.js';
import { positiveSeconds, type Session, wholeNumber } from '../session.js';
import { chiSquare } from './chi-square.js';
import { errorWord, type ProtocolOptions, parsePayload, resolveEndpoint } from './endpoint.js';
import { type Enough, exchange } from './exchange.js';

interface BalanceOptions extends ProtocolOptions {
  readonly count: string;
  readonly concurrency: string;
  readonly payload?: string;
  readonly match?: string;
  readonly weights?: string;
  readonly significance: string;
  readonly wait: string;
  readonly output: 'text' | 'json';
}

/** Fewer answers per backend than this and the chi-square distribution does not hold. */
const expectedMin = 5;
const identitiesMax = 10_000;
const identityMaxCharacters = 200;

export async function balance(session: Session, options: BalanceOptions, text: string): Promise<ExitCode> {
  const count = wholeNumber(options.count, '--count', 1, 10_000_000);
  const concurrency = wholeNumber(options.concurrency, '--concurrency', 1, 10_000);
  const waitMs = positiveSeconds(options.wait, '--wait') * 1000;
  const significance = Number(options.significance);
  if (!(significance > 0 && significance < 1))
    throw usage(`--significance is "${options.significance}": expected between 0 and 1`);
  const weights = options.weights === undefined ? undefined : parseWeights(options.weights);
  const pattern = options.match === undefined ? undefined : parsePattern(options.match);
  const endpoint = await resolveEndpoint(text, options);
  const payload =
    options.payload === undefined ? (options.udp ? Buffer.from('\n') : undefined) : parsePayload(options.payload);
  const signal = session.interrupted;

  const enough: Enough = (answer, ended) => identify(answer, pattern, ended) !== undefined;
  const counts = new Map<string, number>();
  const errors = new Map<string, number>();
  let started = 0;
  const worker = async (): Promise<void> => {
    while (started < count && !signal.aborted) {
      started++;
      try {
        const { answer } = await exchange(endpoint, payload, enough, waitMs);
        const identity = identify(answer, pattern, true) ?? '(unidentified)';
        if (counts.has(identity) || counts.size < identitiesMax) counts.set(identity, (counts.get(identity) ?? 0) + 1);
        else throw new Error('too-many-identities');
      } catch (error) {
        const word = errorWord(error);
        errors.set(word, (errors.get(word) ?? 0) + 1);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, worker));

  const names = [...new Set([...(weights?.keys() ?? []), ...counts.keys()])].sort();
  const observed = names.map((name) => counts.get(name) ?? 0);
  const shares = names.map((name) => (weights === undefined ? 1 : (weights.get(name) ?? 0)));
  const answered = observed.reduce((sum, value) => sum + value, 0);
  const failed = [...errors.values()].reduce((sum, value) => sum + value, 0);
  const whole = shares.reduce((sum, value) => sum + value, 0);
  const verdict = chiSquare(observed, shares);
  const smallest = Math.min(...shares.filter((share) => share > 0).map((share) => (answered * share) / whole));
  const reasons: string[] = [];
  if (answered === 0) reasons.push('nobody answered');
  if (failed > 0) reasons.push(`${failed} of ${started} attempts failed`);
  if (answered > 0 && smallest < expectedMin) {
    reasons.push(
      `too few answers for a verdict: raise --count to ${Math.ceil((count * expectedMin) / Math.max(smallest, 0.01))} or more`,
    );
  } else if (verdict.p < significance) {
    reasons.push(`the shares differ from the expected ones beyond chance (p = ${verdict.p.toExponential(1)})`);
  }
  const passed = reasons.length === 0;
  const rows = names.map((name, i) => ({
    backend: name,
    count: observed[i] ?? 0,
    share: answered === 0 ? 0 : (observed[i] ?? 0) / answered,
    expected: (shares[i] ?? 0) / whole,
  }));
  if (options.output === 'json') {
    const result = {
      target: endpoint.text,
      transport: endpoint.transport,
      sent: started,
      answered,
      errors: Object.fromEntries(errors),
      backends: rows,
      chiSquare: verdict,
      passed,
      reasons,
    };
    await session.write(`${JSON.stringify(result, null, 2)}\n`);
    return passed ? ExitCode.ok : ExitCode.testFailed;
  }
  const percent = (value: number): string => `${(value * 100).toFixed(2)}%`;
  await session.write(
    formatTable(
      [
        { title: 'BACKEND', value: (row) => row.backend },
        { title: 'ANSWERS', value: (row) => String(row.count), align: 'right' },
        { title: 'SHARE', value: (row) => percent(row.share), align: 'right' },
        { title: 'EXPECTED', value: (row) => percent(row.expected), align: 'right' },
      ],
      rows,
    ),
  );
  for (const [word, times] of errors) await session.write(session.style.red(`${times} × ${word}\n`));
  await session.write(
    `\n${passed ? session.style.green('PASS') : session.style.red('FAIL')}: ` +
      (passed
        ? `${answered} answers from ${names.length} backends are as expected (chi-square ${verdict.statistic.toFixed(2)}, ` +
          `${verdict.degrees} degrees of freedom, p = ${verdict.p.toFixed(3)})\n`
        : `${reasons.join('; ')}\n`),
  );
  return passed ? ExitCode.ok : ExitCode.testFailed;
}

/** undefined: not told yet. */
function identify(answer: Buffer, pattern: RegExp | undefined, ended: boolean): string | undefined {
  const text = answer.toString('utf8');
  if (pattern !== undefined) {
    const match = pattern.exec(text);
    if (match !== null) return (match[1] ?? match[0]).slice(0, identityMaxCharacters);
    return undefined;
  }
  const end = text.indexOf('\n');
  if (end < 0 && !ended) return undefined;
  const line = (end < 0 ? text : text.slice(0, end)).trim();
  return line === '' ? undefined : line.slice(0, identityMaxCharacters);
}

function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text, 'm');
  } catch (error) {
    throw usage(`--match is not a regular expression: ${(error as Error).message}`);
  }
}

function parseWeights(text: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const part of text.split(',')) {
    const at = part.lastIndexOf('=');
    const weight = Number(part.slice(at + 1));
    if (at < 1 || !(weight >= 0) || part.slice(at + 1).trim() === '') {
      throw usage(`--weights has "${part}": expected NAME=WEIGHT, such as a=2,b=1`);
    }
    weights.set(part.slice(0, at).trim(), weight);
  }
  if (![...weights.values()].some((weight) => weight > 0))
    throw usage('--weights are all 0: nobody would be expected to answer');
  return weights;
}
