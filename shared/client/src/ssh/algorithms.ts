// SPDX-License-Identifier: Apache-2.0
/**
 * What is offered to a server: nothing with SHA-1, MD5, CBC, RC4, DSA, or a group of 1,024 bits, whatever ssh2 would still speak;
 * no compression. ssh2 adds strict key exchange (CVE-2023-48795) by itself.
 */
import type { Algorithms, ServerHostKeyAlgorithm } from 'ssh2';

const HOST_KEYS: readonly ServerHostKeyAlgorithm[] = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'rsa-sha2-512',
  'rsa-sha2-256',
];

/** known: types of the keys that are known of the server. Those are asked for first, as OpenSSH does: it may have several. */
export function algorithmsFor(known: readonly string[]): Algorithms {
  const isKnown = (algorithm: string): boolean =>
    known.includes(algorithm.startsWith('rsa-sha2-') ? 'ssh-rsa' : algorithm);
  return {
    kex: [
      'curve25519-sha256',
      'curve25519-sha256@libssh.org',
      'ecdh-sha2-nistp256',
      'ecdh-sha2-nistp384',
      'ecdh-sha2-nistp521',
      'diffie-hellman-group-exchange-sha256',
      'diffie-hellman-group16-sha512',
      'diffie-hellman-group18-sha512',
      'diffie-hellman-group14-sha256',
    ],
    serverHostKey: [...HOST_KEYS.filter(isKnown), ...HOST_KEYS.filter((each) => !isKnown(each))],
    cipher: [
      'aes128-gcm@openssh.com',
      'aes256-gcm@openssh.com',
      'chacha20-poly1305@openssh.com',
      'aes128-ctr',
      'aes192-ctr',
      'aes256-ctr',
    ],
    hmac: ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com', 'hmac-sha2-256', 'hmac-sha2-512'],
    compress: ['none'],
  };
}
