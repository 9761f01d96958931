// SPDX-License-Identifier: Apache-2.0
/**
 * One origin with a page and an agent behind it, as a console's gateway is one: browsers speak HTTP/2 over TLS only, and read
 * no answer of another origin. Calls to /agent/one are forwarded as they come, byte for byte.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import { pipeline } from 'node:stream';

const prefix = '/agent/one';
/** Of HTTP/1.1 alone: HTTP/2 refuses them. */
const hopByHop: ReadonlySet<string> = new Set(['connection', 'host', 'keep-alive', 'transfer-encoding']);

export interface WebOrigin {
  readonly url: string;
  close(): Promise<void>;
}

/** script: of the page. socketPath: the agent's. */
export async function serveWebOrigin(script: string, socketPath: string): Promise<WebOrigin> {
  const agent = connectHttp2('http://localhost', { createConnection: () => connect({ path: socketPath }) });
  agent.on('error', () => undefined);

  const forward = (request: IncomingMessage, response: ServerResponse): void => {
    const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !hopByHop.has(name)));
    const path = request.url?.slice(prefix.length) ?? '/';
    const call = agent.request({ ...headers, ':method': request.method ?? 'POST', ':path': path });
    call.on('response', ({ ':status': status = 502, ...answered }) => {
      const plain = Object.entries(answered).filter(([name]) => !name.startsWith(':'));
      response.writeHead(status, Object.fromEntries(plain));
      pipeline(call, response, () => call.close());
    });
    call.on('error', () => response.destroy());
    response.once('close', () => call.close());
    request.pipe(call);
  };

  const server = createServer((request, response) => {
    if (request.url?.startsWith(`${prefix}/`)) forward(request, response);
    else if (request.url === '/page.js') response.setHeader('content-type', 'text/javascript').end(script);
    else if (request.url === '/') {
      response
        .setHeader('content-type', 'text/html')
        .end('<!doctype html><script type="module" src="/page.js"></script>');
    } else response.writeHead(404, { 'content-type': 'text/html' }).end('<p>there is nothing here</p>');
  });
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close() {
      server.closeAllConnections();
      agent.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}
