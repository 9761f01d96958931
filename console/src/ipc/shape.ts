// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';

export interface Shape<Parameters extends z.ZodTuple = z.ZodTuple, Result extends z.ZodType = z.ZodType> {
  readonly parameters: Parameters;
  readonly result: Result;
}

export function shape<Parameters extends z.ZodTuple, Result extends z.ZodType>(
  parameters: Parameters,
  result: Result,
): Shape<Parameters, Result> {
  return { parameters, result };
}

/** A name of the address book. */
export const meshName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'expected the name of a target');
