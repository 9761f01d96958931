// SPDX-License-Identifier: Apache-2.0
/** Whether the log of an agent, or what was exported of one, is what was written. */
import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { ChainVerifier, type Finding } from '@marcher/audit';
import { AuditFindingKind } from '@marcher/proto/marcher/v1/audit_service_pb';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';
import { plural } from '../output/quantity.js';
import { writeValue } from '../output/structured.js';
import { printable } from '../output/style.js';
import { type Column, formatTable } from '../output/table.js';
import type { Session, TargetOptions } from '../session.js';
import { LINE_BYTES_MAX, type Line, type Origin, parseLine, type SignedHead } from './audit-lines.js';

interface VerifyOptions extends TargetOptions {
  readonly file?: readonly string[];
  readonly output: 'text' | 'json' | 'yaml';
}

/** Of one log; as it is shown, and printed as JSON. */
interface Verified {
  readonly node: string;
  /** Of an export. */
  readonly file?: string;
  readonly records: number;
  /** Records up to there were dropped, as the log says. */
  readonly dropped: number;
  readonly newest: number;
  readonly hash: string;
  readonly heads: number;
  readonly findings: readonly { kind: string; node: string; record: number; message: string }[];
  readonly moreFindings: number;
}

export async function verify(session: Session, options: VerifyOptions): Promise<ExitCode> {
  const { file: files, node, output } = options;
  if (files !== undefined && node !== undefined) {
    throw usage('--file and --node exclude each other: exports are checked without an agent');
  }
  const verified = files === undefined ? [await ofAgent(session, options)] : await ofFiles(files);
  if (output === 'text') await session.write(verified.map((one) => text(session, one)).join('\n'));
  else await writeValue(session, output, verified);
  return verified.every(({ findings }) => findings.length === 0) ? ExitCode.ok : ExitCode.auditFindings;
}

async function ofAgent(session: Session, options: VerifyOptions): Promise<Verified> {
  const agent = await session.agent(options);
  const answer = await agent.audit.verifyAudit({}, session.call(options));
  const { node, records, floor, sequence, hash, heads, findings, moreFindings } = answer;
  return {
    ...{ node, heads, records: Number(records), dropped: Number(floor), newest: Number(sequence) },
    hash: Buffer.from(hash).toString('hex'),
    moreFindings: Number(moreFindings),
    findings: findings.map(({ kind, node, sequence, message }) => {
      const name = (AuditFindingKind[kind] ?? String(kind)).toLowerCase().replaceAll('_', '-');
      return { kind: name, node, record: Number(sequence), message };
    }),
  };
}

const columns: Column<Verified['findings'][number]>[] = [
  { title: 'FINDING', value: ({ kind }) => kind },
  { title: 'NODE', value: ({ node }) => node },
  { title: 'RECORD', value: ({ record }) => String(record), align: 'right' },
  { title: 'WHAT', value: ({ message }) => message },
];

function text({ style }: Session, verified: Verified): string {
  const { node, file, records, dropped, newest, hash, heads, findings, moreFindings } = verified;
  const of = file === undefined ? printable(node) : `${printable(node)} in ${printable(file)}`;
  const lost = dropped === 0 ? '' : `; those up to ${dropped} were dropped`;
  const lines = [
    `Log of   ${of}: ${plural(records, 'record')}${lost}`,
    `Newest   ${newest}, ${hash}`,
    `Compared with ${plural(heads, 'head')} that the node has signed`,
  ];
  if (findings.length === 0) return `${lines.join('\n')}\n${style.green('It is what was written.')}\n`;
  const more = moreFindings === 0 ? '' : `and ${moreFindings} more\n`;
  return `${lines.join('\n')}\n${style.red('It is not what was written:')}\n${formatTable(columns, findings)}${more}`;
}

// Exports.

/** Each log with what all of the files say of its node. */
async function ofFiles(files: readonly string[]): Promise<Verified[]> {
  const inputs = await Promise.all(files.map(async (file) => (file === '-' ? await standardInput() : file)));
  const heads: SignedHead[] = [];
  for (const input of inputs) {
    for await (const { line } of linesOf(input)) if (line.kind === 'head') heads.push(line.signed);
  }
  const verified: Verified[] = [];
  for (const [i, input] of inputs.entries()) verified.push(await ofFile(files[i] ?? '-', input, heads));
  return verified;
}

/** It is read twice. */
async function standardInput(): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function ofFile(file: string, input: string | Uint8Array, signed: readonly SignedHead[]): Promise<Verified> {
  let origin: Origin | undefined;
  let verifier: ChainVerifier | undefined;
  const findings: Finding[] = [];
  for await (const { line, number } of linesOf(input)) {
    const at = `line ${number} of ${file}`;
    if (line.kind === 'fault') {
      if (origin === undefined)
        throw new Failure(ExitCode.error, `"${file}" is not an export of an audit log: ${line.reason}`);
      findings.push({ kind: 'altered', node: origin.node, sequence: 0, message: `${at}: ${line.reason}` });
    } else if (line.kind === 'origin') {
      if (origin !== undefined) throw new Failure(ExitCode.error, `${at} begins another export: keep each in its file`);
      origin = line.origin;
      verifier = verifierOf(origin, signed);
    } else if (line.kind === 'record') {
      if (verifier === undefined || origin === undefined) {
        throw new Failure(ExitCode.error, `"${file}" is not an export of an audit log: its first line is missing`);
      }
      verifier.take(line.link);
      const { sequence } = line.link;
      const message = `${at} says something else than the record in it`;
      if (!line.said) findings.push({ kind: 'altered', node: origin.node, sequence, message });
    }
    if (findings.length >= FINDINGS_MAX) break;
  }
  if (verifier === undefined || origin === undefined) {
    throw new Failure(ExitCode.error, `"${file}" is not an export of an audit log: it is empty`);
  }
  const verdict = verifier.end();
  const all = [...verdict.findings, ...findings, ...disagreement(origin.node, signed)];
  return {
    ...{ node: origin.node, file, records: verdict.records, dropped: origin.sequence, heads: verdict.headsChecked },
    ...{ newest: verdict.end.sequence, hash: Buffer.from(verdict.end.hash).toString('hex') },
    findings: all.map(({ kind, node, sequence, message }) => ({ kind, node, record: sequence, message })),
    moreFindings: verdict.moreFindings,
  };
}

const FINDINGS_MAX = 100;

function verifierOf(origin: Origin, signed: readonly SignedHead[]): ChainVerifier {
  const { node, log, sequence, hash } = origin;
  // The same head may be in several files.
  const own = new Map(ofNode(node, signed).map((one) => [hexOf(one.head.signature), one]));
  return new ChainVerifier({
    ...{ node, log, anchor: { sequence, hash }, hash: sha256 },
    heads: [...own.values()].map(({ head }) => head),
    verify: (_node, hashed, signature) => isSigned(own.get(hexOf(signature))?.key, hashed, signature),
  });
}

function ofNode(node: string, signed: readonly SignedHead[]): SignedHead[] {
  return signed.filter(({ head }) => head.node === node);
}

/** Who knows a node by two keys has been told a lie by one of the files. */
function disagreement(node: string, signed: readonly SignedHead[]): Finding[] {
  const keys = new Set(ofNode(node, signed).map(({ key }) => hexOf(key)));
  if (keys.size < 2) return [];
  const message = 'the exports name different keys as those of this node';
  return [{ kind: 'bad-signature', node, sequence: 0, message }];
}

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function isSigned(key: Uint8Array | undefined, hashed: Uint8Array, signature: Uint8Array): boolean {
  if (key?.length !== 32) return false;
  try {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key).toString('base64url') };
    return verifySignature(null, hashed, createPublicKey({ key: jwk, format: 'jwk' }), signature);
  } catch {
    return false;
  }
}

async function* linesOf(input: string | Uint8Array): AsyncIterable<{ line: Line; number: number }> {
  const chunks = typeof input === 'string' ? createReadStream(input) : [input];
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  for await (const chunk of chunks) {
    let from = 0;
    const bytes = Buffer.concat([rest, chunk as Uint8Array]);
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      yield { line: parseLine(bytes.toString('utf8', from, end)), number: ++number };
      from = end + 1;
    }
    rest = bytes.subarray(from);
    if (rest.length > LINE_BYTES_MAX) {
      yield { line: { kind: 'fault', reason: `it is longer than ${LINE_BYTES_MAX} bytes` }, number: number + 1 };
      return;
    }
  }
  if (rest.length > 0) yield { line: parseLine(rest.toString('utf8')), number: number + 1 };
}
