// SPDX-License-Identifier: Apache-2.0
/** The renderer as files for a browser, and for the desktop later: web/. */
import path from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  root: path.join(import.meta.dirname, 'src/renderer'),
  // Under app:// as well as at a host's root.
  base: './',
  plugins: [react()],
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
