// SPDX-License-Identifier: Apache-2.0
/** The built renderer: read whole at the start, since it is some files of which none changes, and compressed once. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { PAGE_HEADERS } from '../wire/page-policy.js';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};
const COMPRESSED = new Set(['.html', '.js', '.css', '.svg']);
/** What is not the renderer is not read into memory. */
const TOTAL_MAX_BYTES = 64 << 20;

interface Asset {
  readonly type: string;
  readonly plain: Buffer;
  readonly gzipped: Buffer | undefined;
  readonly cacheControl: string;
}

export interface Served {
  readonly headers: OutgoingHttpHeaders;
  readonly body: Buffer;
}

export class Assets {
  readonly #assets = new Map<string, Asset>();

  /** Throws Error where there is no renderer, with how to make it. */
  constructor(directory: string) {
    const files = statSync(path.join(directory, 'index.html'), { throwIfNoEntry: false })?.isFile()
      ? readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
      : [];
    if (files.length === 0) {
      throw new Error(`there is no console in ${directory}: expected index.html; npm run console:web builds it`);
    }
    let total = 0;
    for (const entry of files) {
      const file = path.join(entry.parentPath, entry.name);
      const type = TYPES[path.extname(file)];
      if (type === undefined) continue;
      const plain = readFileSync(file);
      total += plain.length;
      if (total > TOTAL_MAX_BYTES)
        throw new Error(`${directory} has more than ${TOTAL_MAX_BYTES} bytes: is it a console?`);
      const name = `/${path.relative(directory, file).split(path.sep).join('/')}`;
      this.#assets.set(name, {
        type,
        plain,
        gzipped: COMPRESSED.has(path.extname(file)) ? gzipSync(plain) : undefined,
        // Names of what is in assets/ have a digest in them.
        cacheControl: name.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
      });
    }
  }

  /** undefined: there is no such file. */
  find(pathname: string, headers: IncomingHttpHeaders): Served | undefined {
    const asset = this.#assets.get(pathname === '/' ? '/index.html' : pathname);
    if (asset === undefined) return undefined;
    const takesGzip = /\bgzip\b/.test(String(headers['accept-encoding'] ?? ''));
    const body = takesGzip && asset.gzipped !== undefined ? asset.gzipped : asset.plain;
    return {
      body,
      headers: {
        ...PAGE_HEADERS,
        'content-type': asset.type,
        'content-length': body.length,
        'cache-control': asset.cacheControl,
        vary: 'accept-encoding',
        ...(body === asset.gzipped ? { 'content-encoding': 'gzip' } : {}),
      },
    };
  }
}
