// SPDX-License-Identifier: Apache-2.0
/**
 * contextBridge between two worlds of one page, which share its events and no objects: what is exposed in the one is made anew in the
 * other, functions by numbers. Both scripts are sources for Chromium.
 */

/** One end. mine, theirs: names of events. Written as source: it runs in pages. */
const LINK = `
function link(mine, theirs, onExposed) {
  const functions = new Map(), waiting = new Map();
  let last = 0;
  const encode = (value) => {
    if (typeof value === 'function') { functions.set(++last, value); return { $function: last }; }
    if (value === undefined) return { $undefined: true };
    if (value instanceof Uint8Array) return { $bytes: Array.from(value) };
    if (Array.isArray(value)) return value.map(encode);
    if (value !== null && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, encode(v)]));
    return value;
  };
  const decode = (value) => {
    if (value === null || typeof value !== 'object') return value;
    if (Array.isArray(value)) return value.map(decode);
    if ('$function' in value) return (...given) => call(value.$function, given);
    if ('$undefined' in value) return undefined;
    if ('$bytes' in value) return Uint8Array.from(value.$bytes);
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, decode(v)]));
  };
  const post = (message) => dispatchEvent(new CustomEvent(theirs, { detail: JSON.stringify(message) }));
  const settle = ({ of, error, value, later }) => {
    const { resolve, reject, now } = waiting.get(of);
    if (later) return now({ later });
    waiting.delete(of);
    if (error !== undefined) { now({ error }); reject(new Error(error)); }
    else { const decoded = decode(value); now({ value: decoded }); resolve(decoded); }
  };
  // Events run their listeners at once: what is answered at once is returned, and else a promise.
  const call = (id, given) => {
    const of = ++last;
    let at;
    const promise = new Promise((resolve, reject) => waiting.set(of, { resolve, reject, now: (known) => { at ??= known; } }));
    promise.catch(() => undefined);
    post({ call: id, of, given: encode(given) });
    if (at !== undefined && 'error' in at) throw new Error(at.error);
    return at !== undefined && 'value' in at ? at.value : promise;
  };
  const serve = ({ call: id, of, given }) => {
    const said = (error) => post({ of, error: String(error?.message ?? error) });
    try {
      const result = functions.get(id)(...decode(given));
      if (typeof result?.then !== 'function') return post({ of, value: encode(result) });
      post({ of, later: true });
      result.then((value) => post({ of, value: encode(value) }), said);
    } catch (error) { said(error); }
  };
  addEventListener(mine, ({ detail }) => {
    const message = JSON.parse(detail);
    if ('exposed' in message) onExposed(message.exposed, decode(message.api));
    else if ('call' in message) serve(message);
    else if (waiting.has(message.of)) settle(message);
  });
  return { encode, decode, expose: (name, api) => post({ exposed: name, api: encode(api) }) };
}`;

export interface WorldNames {
  readonly page: string;
  readonly preload: string;
}

/** First of all, in the page's own world: waits for what the preload script exposes. */
export function pageWorld({ page, preload }: WorldNames): string {
  return `(() => {
  if (window !== top) return;
  ${LINK}
  link(${JSON.stringify(page)}, ${JSON.stringify(preload)}, (name, api) =>
    Object.defineProperty(window, name, { value: Object.freeze(api), enumerable: true }));
})();`;
}

export const BINDING = '__toHost';

/** In a world of its own: the preload script, with the part of "electron" that a sandboxed one has. */
export function preloadWorld({ page, preload }: WorldNames, script: string): string {
  return `(() => {
  if (window !== top) return;
  ${LINK}
  const worlds = link(${JSON.stringify(preload)}, ${JSON.stringify(page)}, () => undefined);
  const waiting = new Map(), listeners = new Map();
  let last = 0;
  globalThis.__fromHost = {
    answered(id, failure, value) {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (failure === null) resolve(worlds.decode(value)); else reject(new Error(failure));
    },
    sent(channel, given) {
      for (const listener of [...(listeners.get(channel) ?? [])]) listener({}, ...worlds.decode(given));
    },
  };
  const ipcRenderer = {
    invoke: (channel, ...given) => new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      ${BINDING}(JSON.stringify({ id: last, channel, given: worlds.encode(given) }));
    }),
    send: (channel, ...given) => ${BINDING}(JSON.stringify({ id: 0, channel, given: worlds.encode(given) })),
    on(channel, listener) { listeners.set(channel, [...(listeners.get(channel) ?? []), listener]); return ipcRenderer; },
    off(channel, listener) { listeners.set(channel, (listeners.get(channel) ?? []).filter((each) => each !== listener)); return ipcRenderer; },
  };
  ipcRenderer.removeListener = ipcRenderer.off;
  ipcRenderer.addListener = ipcRenderer.on;
  globalThis.__ipcRenderer = ipcRenderer;
  const contextBridge = { exposeInMainWorld: (name, api) => worlds.expose(name, api) };
  const require = (name) => {
    if (name === 'electron') return { contextBridge, ipcRenderer };
    throw new Error('a sandboxed preload script can not load ' + name);
  };
  (function (require, module, exports) {
${script}
  })(require, { exports: {} }, {});
})();`;
}

/** The same form in Node.js. No functions: those can't leave a page. */
export function encode(value: unknown): unknown {
  if (typeof value === 'function') throw new TypeError('An object could not be cloned.');
  if (value === undefined) return { $undefined: true };
  if (value instanceof Uint8Array) return { $bytes: [...value] };
  if (Array.isArray(value)) return value.map(encode);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, encode(each)]));
  }
  return value;
}

export function decode(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return value.map(decode);
  if ('$undefined' in value) return undefined;
  if ('$bytes' in value) return Uint8Array.from(value.$bytes as number[]);
  if ('$function' in value) throw new TypeError('An object could not be cloned.');
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, decode(each)]));
}
