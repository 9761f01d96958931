// SPDX-License-Identifier: Apache-2.0
/** What a change does, as the command line shows it: "+ created", "~ changed" field by field, "- removed". */
import { type ObjectDiff, Operation } from '@marcher/proto/marcher/v1/config_service_pb';
import type { ReactNode } from 'react';
import { said } from '../text/said.js';

const SIGNS: Readonly<Record<number, readonly [string, string]>> = {
  [Operation.CREATE]: ['+', 'create'],
  [Operation.UPDATE]: ['~', 'change'],
  [Operation.DELETE]: ['-', 'remove'],
};
/** More is read as a file, not in a window. */
const DIFFS_MAX = 200;

export function countsSentence(diffs: readonly ObjectDiff[]): string {
  const of = (operation: Operation): number => diffs.filter((diff) => diff.operation === operation).length;
  return `${of(Operation.CREATE)} to create, ${of(Operation.UPDATE)} to change, ${of(Operation.DELETE)} to remove`;
}

export function DiffView({ diffs }: { readonly diffs: readonly ObjectDiff[] }): ReactNode {
  if (diffs.length === 0) return <p>Nothing differs from what is in force.</p>;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
    <section className="diff" aria-label="Difference" tabIndex={0}>
      {diffs.slice(0, DIFFS_MAX).map((diff) => (
        <OneDiff key={`${diff.kind}/${diff.name}`} diff={diff} />
      ))}
      {diffs.length > DIFFS_MAX && <p>… and {diffs.length - DIFFS_MAX} more objects</p>}
    </section>
  );
}

function OneDiff({ diff: { kind, name, operation, fields } }: { readonly diff: ObjectDiff }): ReactNode {
  const [sign, word] = SIGNS[operation] ?? ['?', ''];
  return (
    <div className="diff-object" data-operation={word}>
      <h3>
        {sign} {said(kind)} {said(name)}
      </h3>
      {fields.length > 0 && (
        <ul>
          {fields.map(({ path, before, after }) => (
            <li key={path}>
              <code>{said(path)}</code>
              {before !== '' && <del>{said(before)}</del>}
              {after !== '' && <ins>{said(after)}</ins>}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
