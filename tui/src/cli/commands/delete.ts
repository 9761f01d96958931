// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { ChangeSchema } from '@marcher/proto/marcher/v1/config_service_pb';
import type { ExitCode } from '../exit-code.js';
import type { Session } from '../session.js';
import { type ChangeOptions, makeChange } from './change.js';
import { objectKinds, parseKind } from './kind.js';
import { notFound } from './objects.js';

export async function remove(
  session: Session,
  options: ChangeOptions,
  kindText: string,
  names: readonly string[],
): Promise<ExitCode> {
  const kindName = parseKind(kindText, ['services', 'guards', 'policies']);
  const unique = [...new Set(names)];
  return await makeChange(session, options, `delete ${kindName} ${unique.join(' ')}`.slice(0, 4_096), async (agent) => {
    const call = session.call(options);
    if (kindName === 'services') {
      let version = 0n;
      // Absent ones end it here, with the exit code of what is not there.
      for (const name of unique) version = (await agent.config.get({ name }, call)).version;
      return { change: create(ChangeSchema, { remove: unique }), version };
    }
    const kind = objectKinds[kindName];
    const { resources, version } = await agent.config.listObjects({ kind }, call);
    const known = new Set(resources.map(({ object }) => object?.object.value?.name));
    const absent = unique.find((name) => !known.has(name));
    if (absent !== undefined) throw notFound(kind, absent, kindName);
    return { change: create(ChangeSchema, { removeObjects: unique.map((name) => ({ kind, name })) }), version };
  });
}
