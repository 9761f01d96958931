// SPDX-License-Identifier: Apache-2.0
/** Three agents that carry traffic, and each thing that the browser can do to them: with its plan or its word, and taken back. */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { AccessRole, AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import type { Locator, Page } from 'playwright-core';
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import type { MeshGround, MeshNode } from '../mesh/ground.js';
import { type ConsolePage, withConsole } from './browser.js';
import { totpOf } from './second-factor.js';
import { threeAgents } from './three-agents.js';

const PASSWORD = 'correct horse battery staple';
const OTHER_PASSWORD = 'staple battery horse correct';

const service = (name: string, port: number): string => `apiVersion: marcher/v1
services:
  - name: ${name}
    listeners: [{ protocol: tcp, port: ${port} }]
    backends: [{ name: b1, address: "10.77.0.1:8080" }]
`;
const guard = (source: string): string => `apiVersion: marcher/v1
guards:
  - name: edge
    rules: [{ action: deny, sources: ["${source}"] }]
`;
const policy = (name: string, rate: string): string => `apiVersion: marcher/v1
trafficPolicies:
  - name: ${name}
    priority: P1
    egress: { rate: ${rate} }
`;

/** What a person does in the dialogs of the console. */
class Hand {
  readonly console: ConsolePage;
  readonly page: Page;
  readonly dialog: Locator;

  constructor(console_: ConsolePage) {
    this.console = console_;
    this.page = console_.page;
    this.dialog = this.page.getByRole('dialog');
  }

  async press(name: string, within: Locator | Page = this.dialog): Promise<void> {
    await within.getByRole('button', { name, exact: true }).click();
  }

  /** As `marcher apply` takes it. */
  get text(): Locator {
    return this.dialog.getByRole('textbox', { name: 'As in a file of marcher apply' });
  }

  /** Of the page. */
  async begin(name: string): Promise<void> {
    await this.press(name, this.page.getByRole('main'));
    await this.dialog.waitFor();
  }

  async says(text: string | RegExp): Promise<void> {
    await this.dialog.getByText(text).first().waitFor();
  }

  async fill(values: Readonly<Record<string, string>>): Promise<void> {
    for (const [label, value] of Object.entries(values)) {
      await this.dialog.getByLabel(label, { exact: true }).fill(value);
    }
  }

  async plan(text: string, says: string): Promise<void> {
    await this.text.fill(text);
    await this.press('Plan');
    await this.says(says);
  }

  async close(): Promise<void> {
    await this.press('Done');
    await this.dialog.waitFor({ state: 'detached' });
  }

  async apply(): Promise<void> {
    await this.press('Apply');
    await this.says(/^Applied as version/);
  }

  async takeBack(): Promise<void> {
    await this.press('Undo');
    await this.says(/^Taken back/);
    await this.close();
  }

  /** What is said before, and the line of a shell. typed: what has to be. */
  async doIt(command: RegExp, done: RegExp, typed?: string): Promise<void> {
    const button = this.dialog.getByRole('button', { name: 'Do it', exact: true });
    await button.waitFor();
    await this.dialog.getByText('Show as CLI').click();
    await this.says(command);
    if (typed !== undefined) {
      if (await button.isEnabled()) throw new Error(`it is done without ${typed} being typed`);
      await this.dialog.getByLabel(`Type ${typed} to confirm`).fill(typed);
    }
    await button.click();
    await this.says(done);
  }
}

export const everyWrite: readonly Case[] = [
  {
    name: 'three agents: each thing that the console does is planned or said, done at all of them, and taken back',
    limitSeconds: 240,
    run: async (world: World) => {
      const { ground, nodes, loads, address } = await threeAgents(world);
      const [first, second, third] = nodes;
      const began = Date.now();
      await withConsole(world, address, async (console_) => {
        await console_.page.getByText('all of 3 nodes').waitFor();
        await console_.unlock();
        const hand = new Hand(console_);
        await services(hand, ground, second);
        await objects(hand, first, second);
        await history(hand, ground);
        await certificates(world, hand, second);
        await access(world, hand, second);
        await clusters(hand, second);
        await drains(world, hand, first);
        await watched(hand);
        await members(world, hand, [first, third]);
      });
      world.note('s in the browser', (Date.now() - began) / 1_000);
      await ground.unharmed(loads);
    },
  },
];

async function services(hand: Hand, ground: MeshGround, second: MeshNode): Promise<void> {
  await hand.console.goTo('#/services', 'Services');
  await hand.begin('New service');
  await hand.plan(service('shop', 8010), 'Plan: 1 to create, 0 to change, 0 to remove');
  await hand.apply();
  await ground.agreed(['shop', 'web']);
  await hand.takeBack();
  await ground.agreed(['web']);
  await hand.begin('New service');
  await hand.plan(service('shop', 8010), 'Plan: 1 to create');
  await hand.apply();
  await hand.close();
  await ground.agreed(['shop', 'web']);

  // Somebody else is faster, at another agent.
  await hand.console.goTo('#/services/shop', /shop/);
  await hand.begin('Edit');
  await hand.text.fill(service('shop', 8011));
  await ground.apply(second, ground.service('shop', 8012));
  await ground.agreed(['shop', 'web']);
  await hand.page.getByText('tcp:8012').first().waitFor();
  await hand.press('Plan');
  await hand.says(/it is not as it was when you began/);
  await hand.console.picture('moved-dark');
  await hand.press('Back to the text');
  await hand.press('Plan');
  await hand.says('Plan: 0 to create, 1 to change, 0 to remove');
  // And once more, of something else, when the plan was looked at.
  await ground.apply(second, ground.service('web', 8001, { labels: { looked: 'at' } }));
  await ground.agreed(['shop', 'web']);
  await hand.press('Apply');
  await hand.says(/The configuration has changed meanwhile/);
  await hand.apply();
  await hand.page.getByText('tcp:8011').first().waitFor();
  await hand.takeBack();
  await hand.page.getByText('tcp:8012').first().waitFor();

  await hand.begin('Copy');
  await until('the copy to have a name of its own', async () =>
    (await hand.text.inputValue()).includes('name: shop-copy'),
  );
  await hand.plan((await hand.text.inputValue()).replace('8012', '8013'), 'Plan: 1 to create');
  await hand.apply();
  await ground.agreed(['shop', 'shop-copy', 'web']);
  await hand.takeBack();
  await ground.agreed(['shop', 'web']);

  await hand.begin('Delete');
  await hand.says('Plan: 0 to create, 0 to change, 1 to remove');
  await hand.fill({ 'Type shop to confirm': 'shop' });
  await hand.apply();
  await ground.agreed(['web']);
  await hand.page.getByText('There is no service of this name').waitFor();
  await hand.takeBack();
  await ground.agreed(['shop', 'web']);
}

async function objects(hand: Hand, first: MeshNode, second: MeshNode): Promise<void> {
  const there = async (...names: string[]): Promise<void> => {
    for (const { agent } of [first, second]) {
      await until(`${agent.name} to have ${names.join(', ') || 'no objects'}`, async () => {
        const { resources } = await agent.config.listObjects({});
        return (
          resources
            .map(({ object }) => object?.object.value?.name)
            .sort()
            .join() === names.join()
        );
      });
    }
  };
  await hand.console.goTo('#/guards/edge', 'Guards');
  await hand.begin('New guard');
  await hand.plan(guard('203.0.113.0/24'), 'Plan: 1 to create');
  await hand.apply();
  await hand.close();
  await there('edge');
  await hand.begin('Edit');
  await hand.plan(guard('198.51.100.0/24'), 'Plan: 0 to create, 1 to change');
  await hand.apply();
  await hand.page.getByText('198.51.100.0/24').first().waitFor();
  await hand.takeBack();
  await hand.begin('Delete');
  await hand.fill({ 'Type edge to confirm': 'edge' });
  await hand.apply();
  await there();
  await hand.takeBack();
  await there('edge');

  await hand.console.goTo('#/shaping/gold', 'Traffic Shaping');
  await hand.begin('New policy');
  await hand.plan(policy('gold', '100Mbit'), 'Plan: 1 to create');
  await hand.apply();
  await hand.close();
  await there('edge', 'gold');
  await hand.begin('Edit');
  await hand.plan(policy('gold', '200Mbit'), 'Plan: 0 to create, 1 to change');
  await hand.apply();
  await hand.takeBack();
  await hand.begin('Copy');
  await hand.press('Plan');
  await hand.says('Plan: 1 to create');
  await hand.apply();
  await there('edge', 'gold', 'gold-copy');
  await hand.takeBack();
  await hand.begin('Delete');
  await hand.fill({ 'Type gold to confirm': 'gold' });
  await hand.apply();
  await there('edge');
  await hand.takeBack();
  await there('edge', 'gold');
}

async function history(hand: Hand, ground: MeshGround): Promise<void> {
  await hand.console.goTo('#/history', 'History');
  // The first that the console has made: shop was not there before.
  await hand.page.getByRole('grid', { name: 'Versions' }).getByText('1', { exact: true }).first().click();
  await hand.press('Go back to this version…');
  await hand.fill({ 'Type revert 1 to confirm': 'revert 1' });
  await hand.apply();
  await ground.agreed(['web']);
  await hand.takeBack();
  await ground.agreed(['shop', 'web']);
}

async function certificates(world: World, hand: Hand, second: MeshNode): Promise<void> {
  const calls = createClient(CertificateService, over(second));
  const serials = new Map<string, string>();
  const there = async (...wanted: string[]): Promise<void> =>
    void (await until(`${second.agent.name} to have certificates ${wanted.join(', ')}`, async () => {
      const found = (await calls.listCertificates({})).certificates;
      for (const { name, serial } of found) serials.set(name, serial);
      return (
        found
          .map(({ name, revoked }) => `${name}${revoked ? ' revoked' : ''}`)
          .sort()
          .join() === wanted.join()
      );
    }));
  await hand.console.goTo('#/certificates/api', 'Certificates');
  const issue = async (): Promise<void> => {
    await hand.begin('Issue');
    await hand.fill({ Name: 'api', For: 'api.example.org 10.0.0.1', 'Days that each lasts': '90' });
    await hand.press('Go on');
    await hand.doIt(
      /marcher certificate issue api --san api\.example\.org --san 10\.0\.0\.1 --days 90 --usage server/,
      /is issued/,
    );
  };
  await issue();
  await there('api');
  await hand.takeBack();
  await there();
  await issue();
  await hand.console.accessible('a certificate issued');
  await hand.close();
  await there('api');
  const before = serials.get('api');
  await hand.begin('Renew');
  await hand.press('Go on');
  await hand.doIt(/marcher certificate renew api/, /has another key/);
  await hand.close();
  await until('another certificate', async () => {
    await there('api');
    return serials.get('api') !== before;
  });
  await hand.begin('Revoke');
  await hand.press('Go on');
  await hand.doIt(/marcher certificate revoke api --reason unspecified -y/, /is revoked/, 'api');
  await hand.close();
  await there('api revoked');
  await hand.begin('Delete');
  await hand.console.picture('deed-dark');
  await hand.doIt(/marcher certificate delete api -y/, /are deleted/, 'api');
  await hand.close();
  await there();

  const { dir } = world.scope;
  const [key, made] = [path.join(dir, 'shop.key'), path.join(dir, 'shop.crt')];
  const subject = ['-subj', '/CN=shop.example', '-addext', 'subjectAltName=DNS:shop.example'];
  // Else it is that of a CA, which an agent refuses.
  subject.push('-addext', 'basicConstraints=critical,CA:FALSE');
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-nodes', '-days', '30'];
  await world.scope.must(['openssl', 'req', '-x509', ...kind, '-keyout', key, '-out', made, ...subject]);
  await hand.begin('Import');
  await hand.fill({ Name: 'shop', 'Certificate (PEM)': readFileSync(made, 'utf8'), 'Private key (PEM)': 'no key' });
  await hand.press('Go on');
  await hand.says(/the key is not PEM/);
  await hand.dialog.getByLabel('Private key (PEM), from a file').setInputFiles(key);
  await hand.press('Go on');
  await hand.doIt(/marcher certificate import shop --certificate/, /is imported, for shop\.example/);
  await there('shop');
  await hand.takeBack();
  await there();
}

/** Of eve: nothing of it counts before a code of the authenticator was typed. */
async function secondFactor(world: World, hand: Hand, calls: Client<typeof AccessService>): Promise<void> {
  const shown = async (what: string): Promise<string[]> =>
    (await hand.dialog.getByLabel(`${what}, shown here alone`).inputValue()).split('\n');
  const login = { name: 'eve', password: OTHER_PASSWORD };
  const isIn = async (code: string): Promise<boolean> =>
    await calls.login({ ...login, code }).then(
      () => true,
      () => false,
    );
  await hand.begin('Enrol authenticator');
  await hand.fill({ 'Password of eve': OTHER_PASSWORD });
  await hand.press('Go on');
  await hand.doIt(/marcher user totp eve/, /does not count yet/);
  const [secret = '', address = ''] = await shown('Secret of the authenticator, and the same as an address');
  world.check(address.startsWith('otpauth://') && address.includes(secret), `the address is ${address}`);
  await hand.dialog.getByRole('img', { name: 'QR code of the address' }).waitFor();
  await hand.console.accessible('the secret of an authenticator');
  await hand.console.picture('authenticator-dark');
  await hand.press('Go on');
  await hand.fill({ 'Code that it shows now': totpOf(secret, 0) });
  await hand.press('Go on');
  await hand.doIt(/marcher user totp eve/, /logs in with a code/);
  const before = await shown('Recovery codes of eve');
  await hand.close();
  world.equal(await isIn(''), false, 'a login without a code');
  world.equal(await isIn(before[0] as string), true, 'a login by a recovery code');
  await hand.begin('New recovery codes');
  await hand.fill({ 'Password of eve': OTHER_PASSWORD });
  await hand.press('Go on');
  await hand.doIt(/marcher user recovery-codes eve/, /has other recovery codes/);
  const after = await shown('Recovery codes of eve');
  await hand.close();
  world.equal([await isIn(before[1] as string), await isIn(after[1] as string)].join(), 'false,true', 'other codes');
}

async function access(world: World, hand: Hand, second: MeshNode): Promise<void> {
  const calls = createClient(AccessService, over(second));
  const role = async (name: string, wanted: AccessRole | undefined): Promise<void> =>
    void (await until(`${second.agent.name} to have ${name} as ${wanted}`, async () => {
      const { users } = await calls.listUsers({});
      return users.find((user) => user.name === name)?.role === wanted;
    }));
  await hand.console.goTo('#/access/user:eve', 'Users and Keys');
  const adding = async (): Promise<void> => {
    await hand.begin('New user');
    await hand.fill({ Name: 'eve', Password: PASSWORD, 'Password again': OTHER_PASSWORD });
    await hand.press('Go on');
    await hand.says('the two passwords are not the same');
    // What was typed is there still.
    await hand.fill({ 'Password again': PASSWORD });
    await hand.press('Go on');
    await hand.doIt(/marcher user add eve --role viewer/, /User eve is viewer/);
  };
  await adding();
  await role('eve', AccessRole.VIEWER);
  await hand.takeBack();
  await role('eve', undefined);
  await adding();
  await hand.close();
  await hand.begin('Change role');
  await hand.dialog.getByLabel('Role').selectOption('owner');
  await hand.press('Go on');
  await hand.says('an owner is of clusters or of services: name one');
  await hand.fill({ 'Owner of services': 'web' });
  await hand.press('Go on');
  await hand.doIt(/marcher user role eve owner --service web/, /is owner of service web/);
  await role('eve', AccessRole.OWNER);
  await hand.takeBack();
  await role('eve', AccessRole.VIEWER);
  await hand.begin('Change password');
  await hand.fill({ 'New password': OTHER_PASSWORD, 'New password again': OTHER_PASSWORD });
  await hand.press('Go on');
  await hand.doIt(/marcher user password eve/, /has another password/);
  await hand.close();
  world.equal((await calls.login({ name: 'eve', password: OTHER_PASSWORD })).session !== undefined, true, 'a login');
  await secondFactor(world, hand, calls);
  await hand.begin('End sessions');
  await hand.doIt(/marcher user logout eve/, /has no session any more/);
  await hand.close();
  await hand.begin('Remove');
  await hand.doIt(/marcher user remove eve -y/, /is removed/, 'eve');
  await hand.close();
  await role('eve', undefined);

  const keys = async (): Promise<string[]> => (await calls.listApiKeys({})).keys.map(({ name }) => name);
  const making = async (): Promise<string> => {
    await hand.begin('New API key');
    await hand.fill({ Name: 'ci', 'Days that it is good for': '30' });
    await hand.press('Go on');
    await hand.doIt(/marcher key create ci --ttl 30d --role viewer/, /is made/);
    const secret = await hand.dialog.getByLabel('API key ci, shown here alone').inputValue();
    world.check(secret.startsWith('mk_'), 'the key is shown');
    return secret;
  };
  const secret = await making();
  await hand.console.accessible('a key shown once');
  await until('the key to be known', async () => (await keys()).includes('ci'));
  await hand.takeBack();
  await until('the key to be gone', async () => !(await keys()).includes('ci'));
  world.check(!(await hand.page.content()).includes(secret), 'the key is in the page when its dialog has gone');
  await making();
  await hand.close();
  await hand.page.getByRole('grid', { name: 'API keys' }).getByText('ci', { exact: true }).click();
  await hand.begin('Rotate');
  await hand.press('Go on');
  await hand.doIt(/marcher key rotate [0-9a-f]{16} --overlap 24h/, /has another secret/);
  await hand.close();
  await hand.page.getByText(/^good until/).waitFor();
  await hand.begin('Revoke');
  await hand.doIt(/marcher key revoke [0-9a-f]{16} -y/, /Nobody is let in/, 'ci');
  await hand.close();
  await until('the key to be gone again', async () => !(await keys()).includes('ci'));
}

async function clusters(hand: Hand, { mesh }: MeshNode): Promise<void> {
  const there = async (wanted: string): Promise<void> =>
    void (await until(`clusters "${wanted}"`, async () => {
      const found = (await mesh.listClusters({})).clusters;
      return found.map(({ name, nodes }) => `${name}:${nodes.map((node) => node.name).join('+')}`).join() === wanted;
    }));
  await hand.console.goTo('#/clusters/eu', 'Clusters');
  await hand.begin('New cluster');
  await hand.fill({ Name: 'eu' });
  await hand.press('Go on');
  await hand.doIt(/marcher cluster create eu/, /is made/);
  await there('eu:');
  await hand.takeBack();
  await there('');
  await hand.begin('New cluster');
  await hand.fill({ Name: 'eu' });
  await hand.press('Go on');
  await hand.doIt(/marcher cluster create eu/, /is made/);
  await hand.close();
  await hand.begin('Add a node');
  await hand.press('Go on');
  await hand.doIt(/marcher cluster assign [0-9a-f]{16} eu/, /node-1 is in cluster eu/);
  await there('eu:node-1');
  await hand.takeBack();
  await there('eu:');
  await hand.begin('Delete');
  await hand.doIt(/marcher cluster delete eu -y/, /is deleted/, 'eu');
  await there('');
  await hand.takeBack();
  await there('eu:');
}

async function drains(world: World, hand: Hand, { agent }: MeshNode): Promise<void> {
  const draining = async (): Promise<boolean> =>
    (await agent.node.backends({ service: 'shop' })).backends.some((backend) => backend.draining);
  await hand.console.goTo('#/services/shop', /shop/);
  await hand.page.getByLabel('Backends as seen by').selectOption({ label: 'node-1' });
  await hand.begin('Drain');
  await hand.dialog.getByText('Show as CLI').click();
  await hand.says(/marcher drain shop b1/);
  await hand.press('Drain');
  await hand.says('It takes no new connections;');
  world.equal(await draining(), true, 'b1 of shop draining at node-1');
  await hand.press('Undo');
  await hand.says('It takes new connections again.');
  await hand.close();
  world.equal(await draining(), false, 'b1 of shop draining at node-1 after that was taken back');
}

/** What is read of real traffic, and not written. */
async function watched(hand: Hand): Promise<void> {
  const { page } = hand;
  await hand.console.goTo('#/logs/web', 'Logs');
  await page
    .getByRole('grid', { name: 'Log' })
    .getByText(/10\.77\.0\.2/)
    .first()
    .waitFor();
  await hand.console.goTo('#/latency/web', 'Latency');
  await page.getByRole('grid', { name: 'Latency' }).getByText('node-2').waitFor();
  await hand.console.picture('latency-of-real-traffic');
  await hand.console.goTo('#/connections', 'Connections');
  await page.getByText(/through the relay of 3 live nodes/).waitFor();
}

async function members(world: World, hand: Hand, [first, third]: readonly [MeshNode, MeshNode]): Promise<void> {
  await hand.console.goTo('#/mesh', 'Mesh');
  await hand.begin('New token');
  await hand.press('Go on');
  await hand.doIt(/marcher mesh token --ttl 60m --role member/, /The token is made/);
  const open = async (): Promise<number> => {
    const { tokens } = await first.mesh.listJoinTokens({});
    return tokens.filter(({ usedBy }) => usedBy === '').length;
  };
  world.equal(await open(), 1, 'tokens that are open');
  await hand.takeBack();
  world.equal(await open(), 0, 'tokens that are open after that was taken back');
  const key = (await first.mesh.listGossipKeys({})).target;
  await hand.begin('New key');
  await hand.doIt(/marcher mesh keys rotate/, /Gossip gets a new key/);
  await hand.close();
  world.check((await first.mesh.listGossipKeys({})).target !== key, 'gossip has a new key');
  await hand.begin('New root');
  await hand.press('Go on');
  await hand.doIt(/marcher mesh ca rotate --overlap 24h/, /The mesh has a new root/, 'new root');
  await hand.close();
  world.equal((await first.mesh.getMeshCa({})).roots.length, 2, 'roots of the CA');
  await hand.begin('Remove node-3');
  await hand.doIt(/marcher mesh remove [0-9a-f]{16} -y/, /node-3 is not a member any more/, 'node-3');
  await hand.close();
  const { members: left } = await first.mesh.listMembers({});
  world.check(!left.some(({ name }) => name === third.agent.name), 'node-3 is a member still');
  await hand.page.getByText('all of 2 nodes').waitFor();
}

function over({ agent }: MeshNode) {
  return createGrpcTransport({
    baseUrl: 'http://localhost',
    nodeOptions: { createConnection: () => net.connect(agent.socket) },
  });
}
