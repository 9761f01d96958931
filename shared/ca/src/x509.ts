// SPDX-License-Identifier: Apache-2.0
/** The X.509 library, and the one kind of key and signature that a mesh uses: ECDSA with P-384 and SHA-384. */
import './reflect-metadata.js';

export * from '@peculiar/x509';

export const KEY_ALGORITHM = { name: 'ECDSA', namedCurve: 'P-384' } as const;
export const SIGNATURE_ALGORITHM = { name: 'ECDSA', hash: 'SHA-384' } as const;
/** The curve as OpenSSL names it. */
export const CURVE = 'secp384r1';
