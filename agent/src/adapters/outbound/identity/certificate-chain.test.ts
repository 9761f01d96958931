// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import * as x509 from '@marcher/ca/x509';
import { beforeAll, describe, expect, test } from 'vitest';
import type { CheckedImport } from '../../../ports/certificates.js';
import { certificateTools } from './certificate-chain.js';
import { ALGORITHM, type TestCertificate, testCertificate, testChain } from './testing/chain.js';
import { testAuthority } from './testing/mesh.js';

const DAY_MS = 86_400_000;
const NOW = Date.now();
let root: TestCertificate;
let middle: TestCertificate;
let leaf: TestCertificate;

const check = (chain: string, key: string | Uint8Array, nowMs = NOW): CheckedImport =>
  certificateTools.check(chain, Buffer.from(key), nowMs);

function faultsOf(checked: CheckedImport): string[] {
  return checked.kind === 'good' ? [] : checked.faults.map(({ path, reason }) => `${path}: ${reason}`);
}

beforeAll(async () => {
  ({ root, middle, leaf } = await testChain());
});

describe('what is in order', () => {
  test('a chain with its root is taken without the root, the key as PKCS #8', () => {
    const checked = check(leaf.pem + middle.pem + root.pem, leaf.keyPem);
    expect(faultsOf(checked)).toEqual([]);
    if (checked.kind === 'faulty') return;
    expect(checked.chain.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect(checked.facts).toMatchObject({
      names: ['shop.example.org', '*.shop.example.org'],
      issuer: 'CN=Test CA',
      keyType: 'EC P-256',
      roles: ['server'],
    });
    expect(certificateTools.keyPem(checked.key)).toBe(
      createPrivateKey(leaf.keyPem).export({ format: 'pem', type: 'pkcs8' }),
    );
    expect(certificateTools.read(checked.chain)).toEqual(checked.facts);
  });

  test.each(['p384', 'rsa2048', 'ed25519'] as const)(
    'a key of %s, also in the form of its kind and in DER',
    async (kind) => {
      const own = await testCertificate({ subject: 'own', names: ['own.example'], algorithm: ALGORITHM[kind] });
      const key = createPrivateKey(own.keyPem);
      expect(faultsOf(check(own.pem, own.keyPem))).toEqual([]);
      expect(faultsOf(check(own.pem, key.export({ format: 'der', type: 'pkcs8' })))).toEqual([]);
      if (kind === 'rsa2048') {
        expect(faultsOf(check(own.pem, key.export({ format: 'pem', type: 'pkcs1' })))).toEqual([]);
      }
    },
  );

  test('without extended usages it is for servers and clients, and a self-signed one is a whole chain', async () => {
    const own = await testCertificate({ subject: 'own', names: ['own.example'] });
    expect(check(own.pem, own.keyPem)).toMatchObject({ kind: 'good', facts: { roles: ['server', 'client'] } });
  });

  test("the mesh's own CA makes one that is read like any other, for DNS names and addresses", async () => {
    const authority = await testAuthority(NOW);
    const { key, request } = await certificateTools.newKey();
    const names = { dns: ['api.example.org', '*.example.org'], addresses: ['10.0.0.1', '2001:db8::1'] };
    const subject = { name: 'api', names, roles: ['server', 'client'], lifetimeMs: 365 * DAY_MS } as const;
    const { pem } = await authority.issueService(request, subject, NOW);
    const facts = certificateTools.read(certificateTools.sentOf(pem));
    expect(facts).toMatchObject({
      names: [...names.dns, ...names.addresses],
      keyType: 'EC P-384',
      roles: ['server', 'client'],
      leaf: { uris: [`spiffe://${'1'.repeat(32)}/service/api`], isAuthority: false },
    });
    const parsed = new X509Certificate(pem);
    expect(parsed.checkIP('2001:db8::1')).toBe('2001:db8::1');
    expect(parsed.checkHost('x.example.org')).toBe('*.example.org');
    expect(parsed.verify(new X509Certificate(authority.pem).publicKey)).toBe(true);
    expect(parsed.checkPrivateKey(createPrivateKey(certificateTools.keyPem(key)))).toBe(true);
  });
});

describe('what is refused', () => {
  const cases: [string, string, () => [string, string | Uint8Array] | Promise<[string, string | Uint8Array]>][] = [
    ['no certificate', 'chain: there is no certificate in PEM', () => ['nothing', leaf.keyPem]],
    [
      'a torn certificate',
      'chain[1]: it is no X.509 certificate',
      () => [leaf.pem + middle.pem.replace(/\n[^\n]+\n-----END/, '\n-----END'), leaf.keyPem],
    ],
    ['no key', 'private_key: it is no private key that can be read', () => [whole(), 'nothing']],
    ['a key that is a certificate', 'private_key: it is no private key', () => [whole(), leaf.pem]],
    [
      'a key that is sealed',
      'private_key: it is sealed by a passphrase',
      () => {
        const key = createPrivateKey(leaf.keyPem);
        const sealed = { format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'secret' } as const;
        return [whole(), key.export(sealed)];
      },
    ],
    [
      'the key of another',
      'private_key: it is not the key of chain[0]',
      () => [leaf.pem + middle.pem + root.pem, other()],
    ],
    ["the CA's key", 'private_key: it is the key of chain[1], not of chain[0]', () => [whole(), middle.keyPem]],
    [
      'a chain that ends too early',
      'chain: it ends with one that "CN=Test CA" has signed',
      () => [leaf.pem, leaf.keyPem],
    ],
    [
      'a private root that is left out',
      'chain: it ends with one that "CN=Test Root" has signed',
      () => [leaf.pem + middle.pem, leaf.keyPem],
    ],
    [
      'a chain in the wrong order',
      'chain[0]: it was signed by chain[2], and chain[1] follows it',
      () => [leaf.pem + root.pem + middle.pem, leaf.keyPem],
    ],
    [
      'a chain with a gap',
      'chain[0]: it was signed by "CN=Test CA", and chain[1] is another',
      () => [leaf.pem + root.pem, leaf.keyPem],
    ],
    [
      'an issuer of the same name that has not signed it',
      'chain[0]: it was signed by "CN=Test CA", and chain[1] is another',
      async () => {
        const impostor = await testCertificate({ subject: 'Test CA', isAuthority: true });
        return [leaf.pem + impostor.pem, leaf.keyPem];
      },
    ],
    [
      'an issuer that is no CA',
      'chain[1]: it has signed the one before, and is not a CA',
      async () => {
        const odd = await testCertificate({ subject: 'odd', names: ['odd.example'] });
        const signed = await testCertificate({ subject: 'x', issuer: odd, names: ['x.example'] });
        return [signed.pem + odd.pem, signed.keyPem];
      },
    ],
    ['a bundle of CAs', 'chain: it has 11 certificates, more than 10', () => [root.pem.repeat(11), leaf.keyPem]],
    ['far too much', 'chain: it has more than 65536 bytes', () => [root.pem.repeat(200), leaf.keyPem]],
    [
      'far too large a key',
      'private_key: it has more than 16384 bytes',
      () => [whole(), `${leaf.keyPem}${' '.repeat(16_384)}`],
    ],
    own('a CA', "chain[0]: it is a CA's certificate", { isAuthority: true }),
    own('no names', 'chain[0]: it has no DNS name and no IP address', { names: [] }),
    own('another purpose', 'chain[0]: it is neither for servers nor for clients', {
      usages: [x509.ExtendedKeyUsage.codeSigning],
    }),
    own('an end in the past', 'chain[0]: it expired at', { fromMs: NOW - 9 * DAY_MS, untilMs: NOW - DAY_MS }),
    own('a beginning in the future', 'chain[0]: it is valid from', { fromMs: NOW + DAY_MS }),
    own('RSA of 1,024 bits', 'private_key: its kind is RSA 1024', { algorithm: ALGORITHM.rsa1024 }),
    own('an elliptic curve that few take', 'private_key: its kind is EC secp521r1', { algorithm: ALGORITHM.p521 }),
  ];

  test.each(cases)('%s', async (_what, expected, make) => {
    const faults = faultsOf(check(...(await make())));
    expect(faults.filter((fault) => fault.startsWith(expected))).toHaveLength(1);
    expect(faults.every((fault) => !fault.includes('PRIVATE'))).toBe(true);
  });

  test('a signature that can be forged', async () => {
    const { root: ca } = await testChain();
    const weak = await testCertificate({ subject: 'weak', issuer: ca, names: ['weak.example'], hash: 'SHA-1' });
    expect(faultsOf(check(weak.pem + ca.pem, weak.keyPem))).toEqual([
      'chain[0]: it is signed by ecdsa-with-SHA1, which can be forged',
    ]);
  });

  test('an intermediate that has expired', () => {
    const faults = faultsOf(check(whole(), leaf.keyPem, NOW + 91 * DAY_MS));
    expect(faults.map((fault) => fault.slice(0, 22))).toEqual(
      ['chain[0]', 'chain[1]', 'chain[2]'].map((path) => `${path}: it expired at`.slice(0, 22)),
    );
  });

  test('all at once', async () => {
    const odd = await testCertificate({
      ...{ subject: 'odd', isAuthority: true, fromMs: NOW - 9 * DAY_MS, untilMs: NOW - DAY_MS, issuer: root },
      usages: [x509.ExtendedKeyUsage.codeSigning],
    });
    const rsa = await testCertificate({ subject: 'x', algorithm: ALGORITHM.rsa1024 });
    const faults = faultsOf(check(odd.pem, rsa.keyPem));
    expect(faults).toHaveLength(7);
  });
});

function whole(): string {
  return leaf.pem + middle.pem + root.pem;
}

function other(): string {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return privateKey.export({ format: 'pem', type: 'sec1' }).toString();
}

/** Self-signed, so that nothing else is wrong with it. */
function own(what: string, fault: string, odd: Partial<Parameters<typeof testCertificate>[0]>) {
  const make = async (): Promise<[string, string]> => {
    const made = await testCertificate({ subject: 'own', names: ['own.example'], ...odd });
    return [made.pem, made.keyPem];
  };
  return [what, fault, make] as [string, string, typeof make];
}
