// SPDX-License-Identifier: Apache-2.0
/**
 * The files of a configuration source, and what they say. A directory is all its *.yaml, *.yml and *.json files, by name,
 * without hidden ones (Kubernetes' "..data" among them); their services are one configuration.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { create } from '@bufbuild/protobuf';
import {
  type Configuration,
  ConfigurationSchema,
  type ModelViolation,
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

/** Where the services of a merged configuration came from. */
export interface Origin {
  readonly file: string;
  readonly services: number;
}

export type SourceContent =
  | { readonly services: Iterable<Service | Uint8Array>; readonly origins: readonly Origin[] }
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
    const { services } = parsed.configuration;
    services.forEach((service, index) => {
      const other = owners.get(service.name);
      if (other !== undefined && other !== file) {
        const reason = `${JSON.stringify(service.name)} stands in ${other} too`;
        violations.push({ path: `services[${index}].name`, reason, fix: 'remove one of the two', source: file });
      } else owners.set(service.name, file);
      configuration.services.push(service);
    });
    origins.push({ file, services: services.length });
  }
  return violations.length > 0 ? { violations } : { configuration, origins };
}

export async function readSource(state: SourceState, parser = PARSER): Promise<SourceContent> {
  const files = state.files.map(({ path }) => path);
  if (state.bytes > INLINE_BYTES_MAX) return readInChild(files, parser);
  const parsed = parseFiles(files);
  if ('violations' in parsed) return parsed;
  return { services: parsed.configuration.services, origins: parsed.origins };
}

/** What the child writes: one JSON line, then the packed services, each after its length (4 bytes, big endian). */
export type ChildAnswer = { origins: Origin[] } | { violations: ModelViolation[] };

export function writeAnswer(files: readonly string[], write: (bytes: Uint8Array | string) => void): void {
  const parsed = parseFiles(files);
  if ('violations' in parsed) {
    write(`${JSON.stringify(parsed)}\n`);
    return;
  }
  write(`${JSON.stringify({ origins: parsed.origins })}\n`);
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
      resolve(
        'violations' in answer ? answer : { services: unpack(output.subarray(end + 1)), origins: answer.origins },
      );
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
