// SPDX-License-Identifier: Apache-2.0
/** Operators on another machine: the API over TLS as they have it, and what others get there. */
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { rootCertificates } from 'node:tls';
import { type Output, until } from '../../harness/scope.js';
import type { StrangerSettings } from '../../harness/stranger-main.js';
import type { Case, World } from '../../harness/suite.js';
import { MeshGround, type MeshNode } from './ground.js';

const API_PORT = 7443;
const PASSWORD = 'four words, or rather five';

export const operators: readonly Case[] = [
  {
    name: 'operators elsewhere: sessions, certificates and keys over TLS; nobody else, and nobody whose right has ended',
    run: async (world: World) => {
      const ground = new MeshGround(world, 2, () => [], API_PORT);
      await ground.start();
      const [first, second] = ground.nodes as [MeshNode, MeshNode];
      const { scope } = world;
      const file = (name: string, text: string): string => {
        const to = path.join(scope.dir, name);
        writeFileSync(to, text, { mode: 0o600 });
        return to;
      };
      const must = async (what: string, output: Promise<Output>): Promise<Output> => {
        const { code, stdout, stderr } = await output;
        world.equal(code, 0, `${what}: ${stderr || stdout}`);
        return { code, stdout, stderr };
      };
      const refused = async (what: string, code: number, text: RegExp, output: Promise<Output>): Promise<void> => {
        const { code: ended, stdout, stderr } = await output;
        world.equal(ended, code, `${what}: ${stderr || stdout}`);
        world.check(text.test(stderr), `${what} does not say ${text}: ${stderr}`);
      };

      const password = ['--password-file', file('password', PASSWORD)];
      const certificates = path.join(scope.dir, 'certificates');
      mkdirSync(certificates);
      const [roots, key, issued] = await Promise.all([
        must('marcher mesh certificate roots', first.agent.marcher('mesh', 'certificate', 'roots')),
        must('marcher key create', first.agent.marcher('key', 'create', 'ci', '--role', 'viewer')),
        must(
          'marcher mesh certificate issue',
          first.agent.marcher('mesh', 'certificate', 'issue', 'carol', '--out', certificates, '-o', 'json'),
        ),
        ...[
          ['alice', '--role', 'administrator', ...password],
          ['bob', '--role', 'viewer', ...password],
          ['carol', '--role', 'viewer', '--no-password'],
        ].map((user) => must('marcher user add', first.agent.marcher('user', 'add', ...user))),
      ]);
      const ca = ['--ca-file', file('ca.crt', roots.stdout)];
      const tokenFile = ['--token-file', file('key', key.stdout)];
      const [url, other] = [first, second].map(({ v4 }) => `https://${v4}:${API_PORT}`) as [string, string];
      const own = (user: string): Record<string, string> => ({ XDG_CONFIG_HOME: path.join(scope.dir, `of-${user}`) });
      const [alice, bob, carol] = [own('alice'), own('bob'), own('carol')];
      const carols = [...ca, '--cert-file', `${certificates}/carol.crt`, '--key-file', `${certificates}/carol.key`];
      const web = path.join(scope.dir, 'web.yaml');
      writeFileSync(web, JSON.stringify({ apiVersion: 'marcher/v1', services: [ground.service('web', 8001)] }));

      // One by the fingerprint of the root, one by the root; each with a session of its own.
      const fingerprint = /[0-9a-f]{64}/.exec(roots.stderr)?.[0] ?? '';
      const add = ['target', 'add', 'edge', '--use', '--url'];
      const login = async (user: string, env: Record<string, string>, ...target: string[]): Promise<void> => {
        await must('marcher target add', ground.elsewhere(env, ...add, ...target));
        await must('marcher login', ground.elsewhere(env, 'login', '--user', user, ...password));
      };
      await Promise.all([login('alice', alice, url, '--mesh-root', fingerprint), login('bob', bob, other, ...ca)]);
      await must('marcher apply', ground.elsewhere(alice, 'apply', '-f', web));
      await ground.agreed(['web']);
      const wrongCa = file('wrong.crt', rootCertificates[0] as string);
      const watch = ground.elsewhere(carol, 'watch', 'services', '-t', other, ...carols);
      await Promise.all([
        refused('a viewer', 7, /viewer/, ground.elsewhere(bob, 'delete', 'service', 'web')),
        must('a key', ground.elsewhere({}, 'get', 'services', '-t', other, ...ca, ...tokenFile)),
        refused(
          'a wrong CA',
          5,
          /is not trusted/,
          ground.elsewhere({}, 'status', '-t', url, '--ca-file', wrongCa, ...tokenFile),
        ),
      ]);

      // At one node; the watch is at the other.
      const { serial } = JSON.parse(issued.stdout) as { serial: string };
      await must('marcher mesh certificate revoke', first.agent.marcher('mesh', 'certificate', 'revoke', serial));
      await refused('a watch whose certificate was revoked', 7, /revoked/, watch);
      const guesser: StrangerSettings = {
        host: first.v4,
        port: API_PORT,
        caFile: ca[1] as string,
        user: 'bob',
        guesses: 6,
        password: PASSWORD,
      };
      const stranger = await ground.stranger(guesser);
      world.note('a stranger', stranger);
      world.equal(stranger.tls12, 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'TLS 1.2');
      world.check(stranger.plainBytes <= 7, `${stranger.plainBytes} bytes were answered without TLS`);
      world.check(stranger.guessed['Unauthenticated'] === 5, `guesses: ${JSON.stringify(stranger.guessed)}`);
      world.equal(stranger.afterwards, 'ResourceExhausted', `the right password after guesses: ${stranger.message}`);

      await must('marcher logout', ground.elsewhere(alice, 'logout'));
      // Who asks a member first knows of a node that was removed, whatever that says.
      await must('marcher mesh remove', first.agent.marcher('mesh', 'remove', second.agent.name, '--yes'));
      let attempt = 0;
      await until('the removed node to be refused by who has heard of it', async () => {
        attempt += 1;
        const fresh = own(`fresh-${attempt}`);
        await must('a key at the first', ground.elsewhere(fresh, 'status', '-t', url, ...ca, ...tokenFile));
        const { code, stderr } = await ground.elsewhere(fresh, 'status', '-t', other, ...ca, ...tokenFile);
        return code === 5 && stderr.includes('was removed from its mesh');
      });
    },
  },
];
