// SPDX-License-Identifier: Apache-2.0
/** "Show as CLI": what does the same in a shell, to be copied. */
import { type ReactNode, useState } from 'react';

export function CommandLine({
  command,
  what = 'Show as CLI',
}: {
  readonly command: string;
  readonly what?: string;
}): ReactNode {
  const [copied, setCopied] = useState(false);
  return (
    <details className="command">
      <summary>{what}</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
      <pre tabIndex={0}>{command}</pre>
      <button
        type="button"
        className="quiet"
        onClick={() => {
          navigator.clipboard.writeText(command).then(
            () => setCopied(true),
            () => setCopied(false),
          );
        }}
      >
        {copied ? 'Copied' : 'Copy'}
      </button>
    </details>
  );
}
