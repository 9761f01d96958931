// SPDX-License-Identifier: Apache-2.0
import type { ReactNode } from 'react';
import { said } from '../text/said.js';
import { Problem } from './panel.js';

interface AskedHeadProps {
  readonly title: string;
  readonly note?: ReactNode;
  /** Why there is no answer. undefined: there is one, or it is awaited. */
  readonly error: string | undefined;
  readonly again: () => void;
  /** What else may be done. */
  readonly children?: ReactNode;
}

/** Of a page that shows one answer, and not what is observed. */
export function AskedHead({ title, note, error, again, children }: AskedHeadProps): ReactNode {
  return (
    <>
      <header className="page-head">
        <h1>{title}</h1>
        {note !== undefined && <span className="note">{note}</span>}
        <button type="button" onClick={again}>
          Ask again
        </button>
        {children}
      </header>
      {error !== undefined && <Problem>{said(error)}</Problem>}
    </>
  );
}
