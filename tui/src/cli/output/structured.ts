// SPDX-License-Identifier: Apache-2.0
/** Messages and values for programs: JSON, or YAML, whose library is loaded only then. */
import { type DescMessage, type MessageShape, toJson } from '@bufbuild/protobuf';
import type { Session } from '../session.js';

export async function writeValue(session: Session, format: 'json' | 'yaml', value: unknown): Promise<void> {
  if (format === 'json') await session.write(`${JSON.stringify(value, null, 2)}\n`);
  else await session.write((await import('yaml')).stringify(value));
}

/** False, and nothing was written: another format was asked for. */
export async function writeMessages<Desc extends DescMessage>(
  session: Session,
  { output }: { readonly output: string },
  schema: Desc,
  messages: readonly MessageShape<Desc>[],
): Promise<boolean> {
  if (output !== 'json' && output !== 'yaml') return false;
  await writeValue(
    session,
    output,
    messages.map((message) => toJson(schema, message, { alwaysEmitImplicit: true })),
  );
  return true;
}

/** As writeMessages(), of one. */
export async function writeMessage<Desc extends DescMessage>(
  session: Session,
  { output }: { readonly output: string },
  schema: Desc,
  message: MessageShape<Desc>,
): Promise<boolean> {
  if (output !== 'json' && output !== 'yaml') return false;
  await writeValue(session, output, toJson(schema, message, { alwaysEmitImplicit: true }));
  return true;
}
