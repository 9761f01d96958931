// SPDX-License-Identifier: Apache-2.0
/** Fields that every kind's shape is made of. */
import { z } from 'zod';
import {
  type Parsed,
  parseBandwidth,
  parseBytes,
  parseDscp,
  parseDuration,
  parsePercent,
  parsePorts,
  parseSize,
  parseWhole,
  parseWhole64,
} from './scalar.js';

/** A scalar with a parser of its own. The fix travels in the issue's params. */
function scalar<T>(parse: (value: unknown) => Parsed<T>) {
  return z.unknown().transform((value, context): T => {
    const parsed = parse(value);
    if ('value' in parsed) return parsed.value;
    const reason = value === undefined ? 'is missing' : parsed.reason;
    context.issues.push({ code: 'custom', message: reason, params: { fix: parsed.fix }, input: value });
    return z.NEVER;
  });
}

export const text = z.string().optional();
export const flag = z.boolean().optional();
export const whole = scalar(parseWhole).optional();
export const whole64 = scalar(parseWhole64).optional();
export const duration = scalar(parseDuration).optional();
export const percent = scalar(parsePercent).optional();
export const ports = scalar(parsePorts).optional();
export const bytes = scalar(parseBytes).optional();
export const size = scalar(parseSize).optional();
export const dscp = scalar(parseDscp).optional();
export const requiredBandwidth = scalar(parseBandwidth);
export const requiredWhole = scalar(parseWhole);
export const requiredWhole64 = scalar(parseWhole64);

type FieldsOf<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** Leaves out what is left out: an absent field means "the default", and `undefined` is not absent. */
export function present<T extends Record<string, unknown>>(fields: T): FieldsOf<T> {
  for (const key in fields) if (fields[key] === undefined) delete fields[key];
  return fields as FieldsOf<T>;
}
