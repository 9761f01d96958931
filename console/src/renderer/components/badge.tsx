// SPDX-License-Identifier: Apache-2.0
/** A word with a colour: the word says it, the colour is for who looks quickly. */
import type { Link } from '@marcher/client/fleet';
import type { ReactNode } from 'react';
import { said } from '../text/said.js';

export type Tone = 'good' | 'bad' | 'warn' | 'info' | 'plain';

export function Badge({
  tone,
  children,
  title,
}: {
  readonly tone: Tone;
  readonly children: ReactNode;
  readonly title?: string;
}): ReactNode {
  return (
    <span className="badge" data-tone={tone} title={title}>
      {children}
    </span>
  );
}

const LINK_TONES: Readonly<Record<Link['kind'], Tone>> = {
  live: 'good',
  stale: 'warn',
  refused: 'bad',
  connecting: 'info',
};

export function LinkBadge({ link }: { readonly link: Link }): ReactNode {
  const reason = 'reason' in link ? said(link.reason) : undefined;
  return (
    <Badge tone={LINK_TONES[link.kind]} {...(reason === undefined ? {} : { title: reason })}>
      {link.kind}
    </Badge>
  );
}
