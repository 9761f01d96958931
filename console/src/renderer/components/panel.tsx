// SPDX-License-Identifier: Apache-2.0
import { type ReactNode, useId } from 'react';

interface PanelProps {
  readonly title: string;
  readonly side?: ReactNode;
  readonly children: ReactNode;
}

export function Panel({ title, side, children }: PanelProps): ReactNode {
  const id = useId();
  return (
    <section className="panel" aria-labelledby={id}>
      <header className="panel-head">
        <h2 id={id}>{title}</h2>
        {side}
      </header>
      {children}
    </section>
  );
}

export function Problem({ children }: { readonly children: ReactNode }): ReactNode {
  return (
    <p role="alert" className="problem">
      {children}
    </p>
  );
}

/** Terms and what they are. */
export function Facts({ facts }: { readonly facts: readonly (readonly [string, ReactNode])[] }): ReactNode {
  return (
    <dl className="facts">
      {facts.map(([term, value]) => (
        <div key={term}>
          <dt>{term}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
