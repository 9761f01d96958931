// SPDX-License-Identifier: Apache-2.0
/**
 * The lines of the console in Ink: which lays out, reads keys, and writes the lines that have changed. A line is painted and as wide as the
 * screen already: Ink is given one character for it (terminal/line-codes.ts).
 */
import { Box, Text, useApp, useInput, usePaste } from 'ink';
import { memo, type ReactNode, useEffect, useSyncExternalStore } from 'react';
import type { Controller } from '../controller.js';
import { chordsOf } from '../keys/chord.js';
import type { LineCodes } from '../terminal/line-codes.js';

export type Suspend = (run: () => Promise<void>) => Promise<void>;

/** One character for Ink, which stands for the line. */
const Row = memo(({ code }: { readonly code: string }): ReactNode => <Text>{code}</Text>);
Row.displayName = 'Row';

export function App({
  controller,
  codes,
  onReady,
}: {
  readonly controller: Controller;
  readonly codes: LineCodes;
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
        <Row key={index} code={codes.of(line.trimEnd())} />
      ))}
    </Box>
  );
}
