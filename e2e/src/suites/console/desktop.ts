// SPDX-License-Identifier: Apache-2.0
/** The desktop app from outside: main process, preload script and renderer as they are bundled, in a real Chromium. */
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Http2Server } from 'node:http2';
import path from 'node:path';
import { systemAmbient } from '@marcher/client/fleet';
import { type Simulation, simulatedAgents } from '@marcher/client/testing';
import { makeKey, startSshd } from '@marcher/client/testing/sshd';
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { ConsolePage, SHOTS } from './browser.js';
import { type DesktopApp, type DesktopOptions, electronProgram, startDesktop } from './desktop-app.js';
import { serveSimulation } from './served-simulation.js';

const TEXT = `apiVersion: marcher/v1
services:
  - name: from-desktop
    listeners: [{ protocol: tcp, port: 8010 }]
    backends: [{ name: b1, address: "10.77.0.1:8080" }]
`;
const PASSPHRASE = 'of the key, and of nothing else';
const VAULT_PASSPHRASE = 'correct horse';

/** Meshes of simulated agents, each behind a socket of its own, in the address book of the person. */
class Meshes {
  readonly configuration: string;
  readonly #world: World;
  readonly #servers: Http2Server[] = [];
  readonly #targets: Record<string, { url: string }> = {};

  constructor(world: World) {
    this.#world = world;
    this.configuration = path.join(world.scope.dir, 'config');
    mkdirSync(path.join(this.configuration, 'marcher'), { recursive: true, mode: 0o700 });
    mkdirSync(SHOTS, { recursive: true });
  }

  async add(
    name: string,
    nodes: number,
    url: (socket: string) => string = (socket) => `unix:${socket}`,
  ): Promise<Simulation> {
    const simulation = simulatedAgents({ nodes, services: 8, backends: 2, ambient: systemAmbient(), moving: 1 });
    const socket = path.join(this.#world.scope.dir, `${name}.sock`);
    this.#servers.push(await serveSimulation(simulation, socket));
    this.#targets[name] = { url: url(socket) };
    const book = JSON.stringify({ version: 1, current: Object.keys(this.#targets)[0], targets: this.#targets });
    writeFileSync(path.join(this.configuration, 'marcher/targets.json'), book, { mode: 0o600 });
    return simulation;
  }

  async open(
    options: Omit<DesktopOptions, 'configuration'>,
    use: (app: DesktopApp, console_: ConsolePage) => Promise<void>,
  ): Promise<void> {
    const app = await startDesktop(this.#world, { ...options, configuration: this.configuration });
    const console_ = new ConsolePage(app.page);
    try {
      await use(app, console_);
    } catch (error) {
      // What was to be seen is most of why.
      await console_.picture('failed-desktop').catch(() => undefined);
      throw error;
    } finally {
      await app.close();
    }
  }

  close(): void {
    for (const server of this.#servers) server.close();
  }
}

async function withMeshes(world: World, use: (meshes: Meshes) => Promise<void>): Promise<void> {
  if (electronProgram() === undefined) {
    console.log(
      "       launch test not run: Electron's binary is not here. The same main process and preload script run on a host in its place",
    );
  }
  const meshes = new Meshes(world);
  try {
    await use(meshes);
  } finally {
    meshes.close();
  }
}

export const desktop: readonly Case[] = [
  {
    name: 'desktop: three agents live through app://, a write and its undo, another mesh, and what is refused',
    run: async (world: World) =>
      await withMeshes(world, async (meshes) => {
        const prod = await meshes.add('prod', 3);
        await meshes.add('lab', 2);
        await meshes.open({}, async (app, console_) => {
          await isLive(console_, prod);
          await writes(console_);
          await switchesMesh(world, app, console_);
          world.equal(console_.complaints.join('\n'), '', 'errors in the console of the page');
          await refuses(world, app, console_);
          await saysThatNobodyListens(console_);
        });
      }),
  },
  {
    name: 'desktop: an agent by SSH, whose server and key the window asks about, and a passphrase that is kept',
    run: async (world: World) =>
      await withMeshes(world, async (meshes) => {
        const home = path.join(world.scope.dir, 'home');
        mkdirSync(path.join(home, '.ssh'), { recursive: true, mode: 0o700 });
        const key = makeKey(path.join(home, '.ssh/id_ed25519'), 'ed25519', PASSPHRASE);
        const sshd = await startSshd({ directory: path.join(world.scope.dir, 'sshd'), authorizedKeys: [key] });
        const env = { HOME: home, SSH_AUTH_SOCK: '' };
        try {
          await meshes.add('far', 2, (socket) => `ssh://${sshd.user}@127.0.0.1:${sshd.port}${socket}`);
          await meshes.open({ env }, async (app, console_) => {
            const { page } = app;
            const dialog = page.getByRole('dialog');
            await dialog.getByText(/^SHA256:/).waitFor();
            world.equal(
              /publickey|Accepted/.test(sshd.log()),
              false,
              'an authentication before the key of the server was confirmed',
            );
            await console_.accessible('a question');
            await console_.picture('desktop-host-key-dark');
            await dialog.getByRole('button', { name: 'It is the same' }).click();
            await dialog.getByLabel('Passphrase').fill(PASSPHRASE);
            await dialog.getByLabel('Keep it among the secrets').check();
            await dialog.getByRole('button', { name: 'Go on' }).click();
            await dialog.getByLabel('Passphrase, 8 characters or more').fill(VAULT_PASSPHRASE);
            await dialog.getByLabel('The same again').fill(VAULT_PASSPHRASE);
            await dialog.getByRole('button', { name: 'Choose it' }).click();
            await page.getByText('all of 2 nodes').waitFor();
            world.equal(console_.complaints.join('\n'), '', 'errors in the console of the page');
          });
          // The server is known now, and the passphrase is behind that of the console.
          await meshes.open({ env }, async ({ page }) => {
            const dialog = page.getByRole('dialog');
            await dialog.getByLabel('Passphrase', { exact: true }).fill(VAULT_PASSPHRASE);
            await dialog.getByRole('button', { name: 'Unlock' }).click();
            await page.getByText('all of 2 nodes').waitFor();
          });
        } finally {
          await sshd.stop();
        }
      }),
  },
];

/** Rates that move, and a change at an agent, without the page being asked for anything. */
async function isLive(console_: ConsolePage, { agents }: Simulation): Promise<void> {
  const { page } = console_;
  await page.getByText('all of 3 nodes').waitFor();
  await page
    .locator('.tile', { hasText: 'New / s' })
    .getByText(/^[1-9]/)
    .waitFor();
  await console_.accessible('desktop');
  await console_.picture('desktop-dark');
  await console_.goTo('#/services/service-0001', /service-0001/);
  for (const agent of agents) agent.setHealthy('service-0001', 'b', false);
  await page.getByText('unhealthy', { exact: true }).first().waitFor();
}

async function writes(console_: ConsolePage): Promise<void> {
  const { page } = console_;
  await console_.goTo('#/services', 'Services');
  await console_.unlock();
  await page.getByRole('button', { name: 'New service' }).click();
  await page.getByRole('textbox', { name: 'As in a file of marcher apply' }).fill(TEXT);
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await page.getByText('Plan: 1 to create, 0 to change, 0 to remove').waitFor();
  await page.getByRole('button', { name: 'Apply', exact: true }).click();
  await page.getByText(/^Applied as version/).waitFor();
  await page.getByRole('button', { name: 'Undo', exact: true }).click();
  await page
    .getByText(/^Taken back: version/)
    .first()
    .waitFor();
  await page.getByRole('button', { name: 'Done', exact: true }).click();
  await page.getByRole('link', { name: 'from-desktop' }).waitFor({ state: 'detached' });
}

const colourOf = (console_: ConsolePage) => console_.page.evaluate('document.documentElement.dataset.meshColour');

async function switchesMesh(world: World, app: DesktopApp, console_: ConsolePage): Promise<void> {
  const { page } = console_;
  const colour = await colourOf(console_);
  await page.getByRole('combobox', { name: 'Mesh', exact: true }).selectOption('lab');
  await page.getByText('all of 2 nodes').waitFor();
  await page.getByRole('heading', { name: 'Services', level: 1 }).waitFor();
  for (const each of [colour, await colourOf(console_)]) {
    world.check(/^[0-7]$/.test(String(each)), `a mesh has a colour that is none: ${String(each)}`);
  }
  world.check((await colourOf(console_)) !== colour, 'two meshes have one colour');
  // What was unlocked was the other one.
  await page.getByRole('button', { name: 'Read-only: unlock' }).waitFor();
  await console_.picture('desktop-other-mesh-dark');
  await page.reload();
  await page.getByText('all of 2 nodes').waitFor();
  await app.again(['marcher-console', '-t', 'prod']);
  await page.getByText('all of 3 nodes').waitFor();
  world.check(page.url().includes('mesh=prod'), `the address does not say which mesh it is: ${page.url()}`);
}

/** What a page that was broken into would try. */
async function refuses(world: World, app: DesktopApp, console_: ConsolePage): Promise<void> {
  const { page } = console_;
  const before = page.url();
  const inPage = async (what: string): Promise<unknown> => await page.evaluate(what);
  const fails = async (what: string, expected: RegExp): Promise<void> => {
    const said = await inPage(
      `Promise.resolve().then(() => ${what}).then((value) => 'was done: ' + JSON.stringify(value), String)`,
    );
    world.check(expected.test(String(said)), `${what}: ${String(said)}`);
  };

  world.equal(
    await inPage('typeof require + typeof process + typeof global'),
    'undefinedundefinedundefined',
    'Node.js in the page',
  );
  const methods =
    'answerQuestion,chooseMesh,closeVault,forgetSecrets,meshes,nextQuestion,openLink,openVault,vaultState';
  const offered = String(await inPage('Object.keys(marcher).sort().join()'));
  for (const method of methods.split(','))
    world.check(offered.split(',').includes(method), `no ${method} in: ${offered}`);
  world.equal(
    await inPage('typeof marcher.invoke + typeof marcher.send + typeof marcher.on'),
    'undefined'.repeat(3),
    'channels in the page',
  );
  await fails("marcher.chooseMesh('../prod')", /chooseMesh was asked with what it does not take/);
  await fails("marcher.chooseMesh('prod', 'more')", /does not take/);
  await fails("marcher.openLink('file:///etc/passwd')", /does not take/);
  await fails("marcher.chooseMesh('gone')", /there is no target "gone"/);

  await inPage("location.href = 'https://192.0.2.1/'");
  await inPage("location.href = 'https://agent.example.org/'");
  await inPage("void window.open('https://example.org/docs')");
  await inPage("void window.open('file:///etc/passwd')");
  await inPage("void window.open('app://agent/')");
  await until('the link to be opened in the browser', async () => (await app.links()).length > 0);
  world.equal((await app.links()).join(), 'https://example.org/docs', 'links that were opened');
  await until('no other window to be there', () => page.context().pages().length === 1);

  await fails("fetch('https://192.0.2.1/').then(({ status }) => status)", /TypeError/);
  await fails(
    "fetch('/entry/marcher.v1.NodeService/Status', { method: 'POST' }).then(({ status }) => status)",
    /was done: 400/,
  );
  world.equal(
    await inPage(`(() => {
      const script = document.createElement('script');
      script.textContent = 'window.broken = true';
      document.head.append(script);
      return window.broken === undefined;
    })()`),
    true,
    'a script that did not come with the page was kept out',
  );
  const query = (name: string) => `navigator.permissions.query({ name: '${name}' }).then(({ state }) => state)`;
  world.equal(await inPage(query('geolocation')), 'denied', 'where the machine is');
  world.equal(await inPage('Notification.permission'), 'denied', 'notifications');
  world.equal(page.url(), before, 'where the page is');
  if (!app.isElectron) await hostRefuses(world, app, console_);
}

/** What only the host in Electron's place can be asked. */
async function hostRefuses(world: World, { told }: DesktopApp, { page }: ConsolePage): Promise<void> {
  const stopped = told.flatMap((each) => (each.kind === 'stopped-navigation' ? [each.url] : []));
  world.equal(stopped.join(), 'https://192.0.2.1/,https://agent.example.org/', 'navigations that were stopped');
  const permissions = told.find((each) => each.kind === 'permissions');
  world.equal(permissions?.granted.join(), 'clipboard-sanitized-write', 'permissions');
  // From the preload script's own world, which no page reaches.
  const session = await page.context().newCDPSession(page);
  const worlds: { id: number; name: string }[] = [];
  session.on('Runtime.executionContextCreated', ({ context }) => worlds.push(context));
  await session.send('Runtime.enable');
  const contextId = worlds.find(({ name }) => name === 'preload')?.id;
  world.check(contextId !== undefined, 'the preload script has no world of its own');
  const expression = "__ipcRenderer.invoke('marcher:run', 'id').then(() => 'was done', String)";
  const { result } = await session.send('Runtime.evaluate', { expression, contextId, awaitPromise: true });
  world.check(
    /No handler registered for 'marcher:run'/.test(String(result.value)),
    `an unknown call: ${String(result.value)}`,
  );
  await session.detach();
}

/** The thread of its fleet can't begin, and can the next time. */
async function saysThatNobodyListens({ page }: ConsolePage): Promise<void> {
  const part = '**/assets/transports-*.js';
  await page.route(part, (route) => route.abort());
  await page.reload();
  await page
    .getByRole('alert')
    .getByText(/^The part of the console that listens to the nodes has ended: .+ Load the page again\.$/)
    .waitFor();
  await page.unroute(part);
  await page.reload();
  await page.getByText('all of 3 nodes').waitFor();
}
