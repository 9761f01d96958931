// SPDX-License-Identifier: Apache-2.0
/** What a login takes. Password and code are cleared by whoever asks, whatever came of it. */
import { type ReactNode, type Ref, useImperativeHandle, useRef } from 'react';
import { said } from '../../text/said.js';
import type { Answers } from './mesh-session.js';

interface LoginFieldsProps {
  readonly mesh: string;
  readonly values: Answers;
  readonly set: (values: Answers) => void;
  /** Puts the cursor where something is to be typed. */
  readonly ref?: Ref<{ focus(): void }>;
}

export function LoginFields({ mesh, values, set, ref }: LoginFieldsProps): ReactNode {
  const user = useRef<HTMLInputElement>(null);
  const password = useRef<HTMLInputElement>(null);
  useImperativeHandle(ref, () => ({
    focus: () => (user.current?.value === '' ? user : password).current?.focus(),
  }));
  return (
    <>
      <label className="field">
        User of {said(mesh)}
        <input
          ref={user}
          value={values.user}
          required
          maxLength={256}
          autoComplete="off"
          spellCheck={false}
          onChange={(event) => set({ ...values, user: event.target.value })}
        />
      </label>
      <label className="field">
        Password
        <input
          ref={password}
          type="password"
          value={values.password}
          required
          maxLength={1_024}
          autoComplete="off"
          onChange={(event) => set({ ...values, password: event.target.value })}
        />
      </label>
      <label className="field">
        Code, where there is a second factor
        <input
          type="password"
          value={values.code}
          maxLength={100}
          autoComplete="off"
          onChange={(event) => set({ ...values, code: event.target.value })}
        />
      </label>
    </>
  );
}
