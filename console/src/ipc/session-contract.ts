// SPDX-License-Identifier: Apache-2.0
/** Of who is logged in at a mesh. Tokens stay in the main process. */
import { z } from 'zod';
import type { SESSION_METHODS } from './names.js';
import { meshName, type Shape, shape } from './shape.js';

export type SessionMethod = (typeof SESSION_METHODS)[number];

const unixMs = z.int().nonnegative();

const session = z.object({
  /**
   * What lets the person in. session: somebody logs in. certificate: that of the target, in place of which somebody may log in.
   * machine: the machine that the agent is on knows the person, and there is no login.
   */
  by: z.enum(['session', 'certificate', 'machine']),
  /** Who is logged in. Absent: nobody. */
  user: z.string().max(256).optional(),
  /** Of a session: until when its token is good, and until when it can be renewed. */
  expiresMs: unixMs.optional(),
  endsMs: unixMs.optional(),
});

export const sessionContract = {
  session: shape(z.tuple([meshName]), session),
  /** As it is when it was renewed, where that is due. */
  keepSession: shape(z.tuple([meshName]), session),
  /** Begins a session, as `marcher login`. code: empty where there is no second factor. */
  logIn: shape(
    z.tuple([
      z.object({
        mesh: meshName,
        user: z.string().min(1).max(256),
        password: z.string().min(1).max(1_024),
        code: z.string().max(100),
      }),
    ]),
    session,
  ),
  /** Ends it, as `marcher logout`. */
  logOut: shape(z.tuple([meshName]), session),
} satisfies Record<SessionMethod, Shape>;

export type SessionView = z.output<typeof session>;
