// SPDX-License-Identifier: Apache-2.0
/** The renderer as files for a browser, and for the desktop later: web/. */
import path from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

export default defineConfig({
  root: path.join(import.meta.dirname, 'src/renderer'),
  // Under app:// as well as at a host's root.
  base: './',
  plugins: [react(), styleSheetFirst()],
  worker: { format: 'es' },
  build: {
    outDir: path.join(import.meta.dirname, 'web'),
    emptyOutDir: true,
    target: 'es2024',
    // Strict CSP: nothing inline, no data: scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  logLevel: 'warn',
});

/**
 * Nothing is drawn without the style sheet, and Vite puts it behind the program's parts: over HTTP/1.1, with six connections, it came after
 * most of them.
 */
function styleSheetFirst(): Plugin {
  const LINK = /\s*<link rel="stylesheet"[^>]*>/;
  return {
    name: 'style-sheet-first',
    apply: 'build',
    transformIndexHtml: {
      order: 'post',
      handler: (html) => {
        const link = LINK.exec(html)?.[0];
        if (link === undefined) throw new Error('index.html has no style sheet to put first');
        return html.replace(link, '').replace(/\s*<script type="module"/, (script) => `${link}${script}`);
      },
    },
  };
}
