// SPDX-License-Identifier: Apache-2.0
/**
 * The lines of the console in Ink: which lays out, reads keys, and writes the lines that have changed. A line is one text,
 * painted and as wide as the screen already: laying out a text for each cell of 100 rows takes longer than a frame may.
 */
import { Box, Text, useApp, useInput, usePaste } from 'ink';
import { memo, type ReactNode, useEffect, useSyncExternalStore } from 'react';
import type { Controller } from '../controller.js';
import { chordsOf } from '../keys/chord.js';

export type Suspend = (run: () => Promise<void>) => Promise<void>;

/** Ink takes each cell of a text apart, and fills what is left of a line with blanks itself. */
const Row = memo(
  ({ line }: { readonly line: string }): ReactNode => <Text wrap="truncate-end">{line.trimEnd() || ' '}</Text>,
);
Row.displayName = 'Row';

export function App({
  controller,
  onReady,
}: {
  readonly controller: Controller;
  /** Gives how another program may have the terminal. */
  readonly onReady: (suspend: Suspend) => void;
}): ReactNode {
  const { suspendTerminal } = useApp();
  const lines = useSyncExternalStore(controller.subscribe, controller.lines);
  useEffect(() => onReady(suspendTerminal), [onReady, suspendTerminal]);
  useInput((input, key) => {
    for (const chord of chordsOf(input, key)) controller.press(chord);
  });
  usePaste((text) => controller.paste(text));
  return (
    <Box flexDirection="column">
      {lines.map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a line is what stands in that row
        <Row key={index} line={line} />
      ))}
    </Box>
  );
}
