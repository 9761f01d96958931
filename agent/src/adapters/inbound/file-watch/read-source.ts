// SPDX-License-Identifier: Apache-2.0
/**
 * The files of a configuration source, and what they say. A directory is all its *.yaml, *.yml and *.json files, by name,
 * without hidden ones (Kubernetes' "..data" among them); what they declare is one configuration.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type Configuration,
  ConfigurationSchema,
  KINDS,
  LIST_OF,
  type ModelViolation,
  type Object$,
  ObjectSchema,
  objectsOf,
  parseConfiguration,
  type Service,
  TEXT_BYTES_MAX,
} from '@marcher/model';
import { packService } from '../../../application/service-codec.js';

const FILES_MAX = 10_000;
/** Larger sources are parsed in a process of their own: parsing takes some 50 times the text's size in memory. */
const INLINE_BYTES_MAX = 1024 * 1024;
const CHILD_TIMEOUT_MS = 300_000;
const PARSER = fileURLToPath(new URL('./parse-child.js', import.meta.url));

export interface SourceFile {
  readonly path: string;
  /** Device, inode, size and time of change: differs when the content may. */
  readonly mark: string;
  readonly size: number;
}

export interface SourceState {
  readonly files: readonly SourceFile[];
  /** Equal signatures: nothing has changed. */
  readonly signature: string;
  readonly bytes: number;
}

/** Throws with a sentence when the source can't be looked at. */
export function statSource(path: string): SourceState {
  const files: SourceFile[] = [];
  const add = (file: string): void => {
    const stat = statSync(file, { bigint: true });
    if (!stat.isFile()) return;
    const mark = `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
    files.push({ path: file, mark, size: Number(stat.size) });
  };
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
    if (!isDirectory) add(path);
    else {
      for (const name of readdirSync(path).sort()) {
        if (name.startsWith('.') || !/\.(?:ya?ml|json)$/.test(name)) continue;
        try {
          add(join(path, name));
        } catch (error) {
          // Gone between listing and looking: the listing is out of date, and another look follows.
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        }
      }
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Error(code === 'ENOENT' ? `${path} does not exist` : `${path} can't be read: ${message}`);
  }
  if (files.length === 0)
    throw new Error(`${path} ${isDirectory ? 'has no *.yaml, *.yml or *.json file' : 'is not a file'}`);
  if (files.length > FILES_MAX) throw new Error(`${path} has ${files.length} files, and at most ${FILES_MAX} are read`);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  if (bytes > TEXT_BYTES_MAX) throw new Error(`${path} has ${bytes} bytes, and at most ${TEXT_BYTES_MAX} are read`);
  return { files, signature: files.map((file) => `${file.path}=${file.mark}`).join('\n'), bytes };
}

export type List = (typeof LIST_OF)[keyof typeof LIST_OF];

/** Where the items of a merged configuration's lists came from: how many of each list stand in a file. */
export interface Origin {
  readonly file: string;
  readonly counts: Readonly<Record<List, number>>;
}

export interface Declared {
  readonly services: Iterable<Service | Uint8Array>;
  readonly objects: readonly Object$[];
}

export type SourceContent =
  | (Declared & { readonly origins: readonly Origin[] })
  | { readonly violations: readonly ModelViolation[] };

/** Parses and merges; a name that stands in two files is a violation that names both. */
export function parseFiles(
  files: readonly string[],
): { configuration: Configuration; origins: Origin[] } | { violations: ModelViolation[] } {
  const configuration = create(ConfigurationSchema);
  const origins: Origin[] = [];
  const violations: ModelViolation[] = [];
  const owners = new Map<string, string>();
  for (const file of files) {
    const parsed = parseConfiguration(readFileSync(file, 'utf8'), { source: file });
    if (parsed.violations !== undefined) {
      violations.push(...parsed.violations);
      continue;
    }
    for (const kind of KINDS) {
      const list = LIST_OF[kind];
      parsed.configuration[list].forEach(({ name }, index) => {
        const key = `${kind}/${name}`;
        const other = owners.get(key);
        if (other !== undefined && other !== file) {
          const reason = `${JSON.stringify(name)} stands in ${other} too`;
          violations.push({ path: `${list}[${index}].name`, reason, fix: 'remove one of the two', source: file });
        } else owners.set(key, file);
      });
    }
    const { services, guards, trafficPolicies } = parsed.configuration;
    for (const service of services) configuration.services.push(service);
    for (const guard of guards) configuration.guards.push(guard);
    for (const policy of trafficPolicies) configuration.trafficPolicies.push(policy);
    const counts = { services: services.length, guards: guards.length, trafficPolicies: trafficPolicies.length };
    origins.push({ file, counts });
  }
  return violations.length > 0 ? { violations } : { configuration, origins };
}

export async function readSource(state: SourceState, parser = PARSER): Promise<SourceContent> {
  const files = state.files.map(({ path }) => path);
  if (state.bytes > INLINE_BYTES_MAX) return readInChild(files, parser);
  const parsed = parseFiles(files);
  if ('violations' in parsed) return parsed;
  const { configuration, origins } = parsed;
  return { services: configuration.services, objects: objectsOf(configuration), origins };
}

/**
 * What the child writes: one JSON line, with the other objects as marcher.v1.Object in base64, then the packed services,
 * each after its length (4 bytes, big endian).
 */
export type ChildAnswer = { origins: Origin[]; objects: string[] } | { violations: ModelViolation[] };

export function writeAnswer(files: readonly string[], write: (bytes: Uint8Array | string) => void): void {
  const parsed = parseFiles(files);
  if ('violations' in parsed) {
    write(`${JSON.stringify(parsed)}\n`);
    return;
  }
  const objects = objectsOf(parsed.configuration).map((object) => toBinary(ObjectSchema, object));
  const head = { origins: parsed.origins, objects: objects.map((body) => Buffer.from(body).toString('base64')) };
  write(`${JSON.stringify(head)}\n`);
  for (const service of parsed.configuration.services) {
    const body = packService(service);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    write(head);
    write(body);
  }
}

function readInChild(files: readonly string[], parser: string): Promise<SourceContent> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [parser], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), CHILD_TIMEOUT_MS);
    const chunks: Buffer[] = [];
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < 4_096) complaint += chunk.toString('utf8');
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(JSON.stringify(files));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (code !== 0) {
        reject(new Error(`parsing ended with ${signal ?? `code ${code}`}: ${complaint.trim().slice(0, 500)}`));
        return;
      }
      const output = Buffer.concat(chunks);
      const end = output.indexOf(10);
      const answer = JSON.parse(output.subarray(0, end).toString('utf8')) as ChildAnswer;
      if ('violations' in answer) {
        resolve(answer);
        return;
      }
      const objects = answer.objects.map((body) => fromBinary(ObjectSchema, Buffer.from(body, 'base64')));
      resolve({ services: unpack(output.subarray(end + 1)), objects, origins: answer.origins });
    });
  });
}

function* unpack(bytes: Buffer): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    yield bytes.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
}
