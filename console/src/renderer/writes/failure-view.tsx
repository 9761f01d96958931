// SPDX-License-Identifier: Apache-2.0
/** Why something was not done, with all that is wrong, and what to do. */
import type { ReactNode } from 'react';
import { Problem } from '../components/panel.js';
import { said } from '../text/said.js';
import type { Failure } from './flow.js';

export function FailureView({ failure: { code, message, violations } }: { readonly failure: Failure }): ReactNode {
  const hint =
    code === 'conflict'
      ? ' Look at what has changed since (History), then try again.'
      : code === 'denied'
        ? ' Ask an administrator.'
        : '';
  return (
    <>
      <Problem>
        {said(message)}
        {hint}
      </Problem>
      {violations.length > 0 && (
        <ul className="violations">
          {violations.map(({ path, reason, fix }) => (
            <li key={`${path} ${reason}`}>
              <code>{said(path)}</code> {said(reason)}
              {fix !== '' && <span className="fix">: {said(fix)}</span>}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
