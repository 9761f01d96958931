// SPDX-License-Identifier: Apache-2.0
/**
 * Import of fproxy's JSON: {"Apps": [{"Name": "five-thousand", "Ports": [5001, 5200], "Targets": ["host:port", ...]}]}.
 * An app becomes a service with one TCP listener on its ports. Names are brought into Marcher's form and kept unique.
 */
import { create } from '@bufbuild/protobuf';
import {
  type Configuration,
  ConfigurationSchema,
  Protocol,
  type Service,
  ServiceSchema,
} from '@marcher/proto/marcher/v1/model_pb';
import { z } from 'zod';
import type { ParseResult } from './parse.js';
import { formatPath, type ModelViolation } from './violation.js';

const NAME_LENGTH_MAX = 63;

const port = z.number().int().min(1).max(65_535);
const app = z.object({
  Name: z.string().min(1),
  Ports: z.array(port).min(1),
  Targets: z.array(z.string().min(1)).min(1),
});
const file = z.object({ Apps: z.array(app) });

const FIX: Readonly<Record<string, string>> = {
  Name: 'write a text',
  Ports: 'write a list of ports from 1 to 65535',
  Targets: 'write a list of "host:port" texts',
  Apps: 'write a list of {"Name", "Ports", "Targets"}',
};

function reasonOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return issue.input === undefined ? 'is missing' : `is not ${issue.expected}`;
  if (issue.code === 'too_small') return issue.origin === 'number' ? `is below ${issue.minimum}` : 'is empty';
  if (issue.code === 'too_big') return `is above ${issue.maximum}`;
  return issue.message;
}

/** "Five Thousand!" -> "five-thousand"; a number is added where a name is taken. */
function uniqueName(name: string, taken: Set<string>): string {
  const form = name
    .normalize('NFKD')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
  const stem = form.slice(0, NAME_LENGTH_MAX).replace(/-+$/, '') || 'app';
  let unique = stem;
  for (let n = 2; taken.has(unique); n++) {
    const suffix = `-${n}`;
    unique = stem.slice(0, NAME_LENGTH_MAX - suffix.length).replace(/-+$/, '') + suffix;
  }
  taken.add(unique);
  return unique;
}

/** Neighbouring ports become a range. */
function ranges(ports: readonly number[]): { first: number; last: number }[] {
  const out: { first: number; last: number }[] = [];
  for (const value of [...new Set(ports)].sort((a, b) => a - b)) {
    const last = out.at(-1);
    if (last !== undefined && last.last === value - 1) last.last = value;
    else out.push({ first: value, last: value });
  }
  return out;
}

export function importFproxy(text: string, source?: string): ParseResult {
  const place = source === undefined ? {} : { source };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reason = `is not valid JSON: ${error instanceof Error ? error.message : String(error)}`;
    return { violations: [{ path: '', reason, fix: 'pass the JSON file that fproxy reads', ...place }] };
  }
  const parsed = file.safeParse(value, { reportInput: true });
  if (!parsed.success) {
    const violations = parsed.error.issues.map((issue): ModelViolation => {
      const path = issue.path.map((segment) => (typeof segment === 'number' ? segment : String(segment)));
      const field = path.findLast((segment) => typeof segment === 'string');
      return { path: formatPath(path), reason: reasonOf(issue), fix: FIX[field ?? 'Apps'] ?? '', ...place };
    });
    return { violations };
  }

  const violations: ModelViolation[] = [];
  const taken = new Set<string>();
  const owner = new Map<number, string>();
  const services: Service[] = parsed.data.Apps.map((entry, index) => {
    const name = uniqueName(entry.Name, taken);
    entry.Ports.forEach((value, i) => {
      const other = owner.get(value);
      if (other !== undefined && other !== entry.Name) {
        const reason = `port ${value} is also the port of app ${JSON.stringify(other)}`;
        violations.push({ path: `Apps[${index}].Ports[${i}]`, reason, fix: 'give it to one app only', ...place });
      }
      owner.set(value, entry.Name);
    });
    const backends = [...new Set(entry.Targets)].map((address) => ({ address }));
    return create(ServiceSchema, {
      name,
      listeners: [{ protocol: Protocol.TCP, ports: ranges(entry.Ports) }],
      backends,
    });
  });
  if (violations.length > 0) return { violations };
  const configuration: Configuration = create(ConfigurationSchema, { services });
  return { configuration };
}
