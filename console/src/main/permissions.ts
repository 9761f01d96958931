// SPDX-License-Identifier: Apache-2.0
/**
 * What a page may ask of the machine: to put text into the clipboard, and nothing else. And it reaches nothing but its own
 * scheme: agents are spoken to by the main process, so no request of the renderer has a reason to leave it.
 */
import { isOwnAddress, SCHEME } from './origin.js';

const ALLOWED = 'clipboard-sanitized-write';

/** Of Electron's Session. */
export interface RendererSession {
  setPermissionRequestHandler(
    handler: (
      contents: unknown,
      permission: string,
      answer: (granted: boolean) => void,
      details: { readonly requestingUrl?: string },
    ) => void,
  ): void;
  setPermissionCheckHandler(
    handler: (contents: unknown, permission: string, requestingOrigin: string) => boolean,
  ): void;
  setDevicePermissionHandler(handler: () => boolean): void;
  setCertificateVerifyProc(proc: (request: unknown, answer: (verdict: number) => void) => void): void;
  readonly webRequest: {
    onBeforeRequest(
      listener: (details: { readonly url: string }, answer: (verdict: { cancel: boolean }) => void) => void,
    ): void;
  };
}

/** Chromium's net::ERR_FAILED: not trusted, and no question to the person. */
const REJECTED = -2;

export function denyPermissions(session: RendererSession): void {
  session.setPermissionRequestHandler((_contents, permission, answer, { requestingUrl = '' }) =>
    answer(permission === ALLOWED && isOwnAddress(requestingUrl)),
  );
  session.setPermissionCheckHandler((_contents, permission, origin) => permission === ALLOWED && isOwnAddress(origin));
  session.setDevicePermissionHandler(() => false);
  session.setCertificateVerifyProc((_request, answer) => answer(REJECTED));
  session.webRequest.onBeforeRequest(({ url }, answer) => answer({ cancel: !isOfScheme(url) }));
}

/** Tools of developers have a scheme of their own, and are there in builds for developers alone. */
function isOfScheme(address: string): boolean {
  const protocol = URL.parse(address)?.protocol;
  return (protocol === `${SCHEME}:` && isOwnAddress(address)) || protocol === 'devtools:';
}
