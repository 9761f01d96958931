// SPDX-License-Identifier: Apache-2.0
/** People with a password and a second factor, who log in within the consoles, and again when somebody has ended their session. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { AccessRole } from '@marcher/proto/marcher/v1/access_service_pb';
import { MARCHER } from '../../harness/agent.js';
import { Doorway } from '../../harness/doorway.js';
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { Terminal } from '../../harness/terminal.js';
import { MeshGround, type MeshNode } from '../mesh/ground.js';
import { ConsolePage, withConsole } from './browser.js';
import { startDesktop } from './desktop-app.js';
import { startGateway } from './gateway.js';
import { CUT_OFF } from './pages.js';
import { type Account, accessOf, createAccount } from './second-factor.js';

const API_PORT = 7443;
const PASSWORD = 'four words, or rather five';

/** One person's configuration, whose only target is the agent, by TLS. */
interface Person {
  readonly account: Account;
  readonly configuration: string;
  readonly node: MeshNode;
  readonly ground: MeshGround;
  /** As somebody does who is at a node. */
  endSessions(): Promise<void>;
  /** As `marcher login` keeps it. */
  kept(): { readonly text: string; readonly user: string | undefined };
}

interface There {
  readonly ground: MeshGround;
  readonly node: MeshNode;
  /** Of the mesh's root, hex. */
  readonly root: string;
}

/** One that carries a service. */
async function agentByTls(world: World): Promise<There> {
  const ground = new MeshGround(world, 1, () => [], API_PORT);
  await ground.start();
  const node = ground.node(1);
  await ground.apply(node, ground.service('web', 8001));
  const { stderr } = await node.agent.marcher('mesh', 'certificate', 'roots');
  return { ground, node, root: /[0-9a-f]{64}/.exec(stderr)?.[0] ?? '' };
}

/** A configuration whose only target is that agent, through a door of its own. */
async function targetOf(world: World, { node, root }: There, name: string) {
  const door = await Doorway.open(world.scope, node.netns, name, node.v4, API_PORT);
  const configuration = path.join(world.scope.dir, `of-${name}`);
  const env = { XDG_CONFIG_HOME: configuration };
  const add = ['target', 'add', 'edge', '--url', `https://127.0.0.1:${door.port}`, '--mesh-root', root, '--use'];
  await world.scope.must([MARCHER, ...add], { env });
  return { door, configuration, env };
}

const gatewayLogin: Case = {
  name: 'logins: a gateway that nobody has logged in at goes on with what marcher login begins, and with the next',
  run: async (world: World) => {
    const there = await agentByTls(world);
    const { node } = there;
    const { door, env } = await targetOf(world, there, 'carol');
    await accessOf(node.agent).createUser({ name: 'carol', role: AccessRole.VIEWER, password: PASSWORD });
    const passwordFile = path.join(world.scope.dir, 'password');
    writeFileSync(passwordFile, `${PASSWORD}\n`, { mode: 0o600 });
    const logIn = ['login', '--user', 'carol', '--password-file', passwordFile];
    try {
      const address = await startGateway(world, 'edge', { env });
      await withConsole(world, address, async (console_) => {
        const { page } = console_;
        const unknown = page.getByRole('region', { name: 'What is not known' });
        const tryNow = page.getByRole('button', { name: /try now/ });
        const alone = page.getByText('all of 1 node', { exact: true });
        await unknown.getByText(/nobody is logged in here: marcher login begins a session/).waitFor();
        await world.scope.must([MARCHER, ...logIn], { env });
        await tryNow.click();
        await alone.waitFor();
        // Streams that are open end by it.
        await accessOf(node.agent).revokeSessions({ name: 'carol' });
        await unknown.waitFor();
        await world.scope.must([MARCHER, ...logIn], { env });
        // Another login is looked for once in 2 s: by itself a node that has refused is asked once a minute.
        await until('the next login to be taken', async () => {
          // It may go while it is being pressed.
          await tryNow.click({ timeout: 500 }).catch(() => undefined);
          return (await alone.isVisible()) || undefined;
        });
        await console_.goTo('#/services', 'Services');
        await page.getByRole('link', { name: 'web' }).waitFor();
      });
    } finally {
      door.close();
    }
  },
};

export const logins: readonly Case[] = [
  gatewayLogin,
  {
    name: 'logins: within the terminal console and the desktop app, by password and second factor, and again when the session was ended',
    run: async (world: World) => {
      const there = await agentByTls(world);
      const { ground, node } = there;
      const people = ['alice', 'bob'].map(async (name): Promise<[Person, Doorway]> => {
        const { door, configuration } = await targetOf(world, there, name);
        const account = await createAccount(node.agent, name, PASSWORD);
        const person: Person = {
          ...{ account, configuration, node, ground },
          endSessions: async () => void (await accessOf(node.agent).revokeSessions({ name })),
          kept: () => {
            const text = readFileSync(path.join(configuration, 'marcher/targets.json'), 'utf8');
            return { text, user: (JSON.parse(text) as Book).targets['edge']?.session?.user };
          },
        };
        return [person, door];
      });
      const [[alice, door], [bob, other]] = (await Promise.all(people)) as [[Person, Doorway], [Person, Doorway]];
      try {
        await Promise.all([inTerminal(world, alice), inDesktop(world, bob)]);
      } finally {
        door.close();
        other.close();
      }
    },
  },
];

interface Book {
  readonly targets: Readonly<Record<string, { readonly session?: { readonly user: string } }>>;
}

async function inTerminal(world: World, { account, configuration, node, ground, endSessions, kept }: Person) {
  const window = await Terminal.open(world.scope, { columns: 100, rows: 24 });
  const seen: string[] = [];
  const shows = async (what: string, holds: RegExp): Promise<void> => void seen.push(await window.shows(what, holds));
  const env = `env LANG=C.UTF-8 PATH=${process.env['PATH']} XDG_CONFIG_HOME=${configuration}`;
  await window.keys(`${env} ${MARCHER} -t edge`, 'Enter');
  await shows('that nobody is logged in', /NOBODY IS LOGGED IN[\s\S]*Nobody is logged in at edge/);
  await window.keys(account.name, 'Enter', PASSWORD, 'Enter', '000000', 'Enter');
  await shows('why that is not enough', /the name, the password or the code is wrong/i);
  await window.keys('Enter', PASSWORD, 'Enter', account.code(), 'Enter');
  await shows('who is logged in', /The session of alice goes on until/);
  await window.keys(':services', 'Enter');
  await shows('the data', /^> ?\s*web /m);
  world.equal(kept().user, 'alice', 'who is logged in for later commands');

  await endSessions();
  await shows('that it is over', /SESSION OVER[\s\S]*The session of alice is over: log in again/);
  await ground.apply(node, ground.service('while-away', 8002));
  await window.keys(PASSWORD, 'Enter', account.recoveryCode(), 'Enter');
  await shows('what has come meanwhile, where it was', /^[> ] ?\s*while-away /m);
  world.check(!/SESSION OVER/.test(await window.screen()), 'the session is over');
  world.check(!seen.join().includes('four words') && !kept().text.includes('four words'), 'the password can be seen');
  await window.keys('C-c');
  await shows('the shell', /shell>\s*$/);
}

async function inDesktop(world: World, { account, configuration, node, ground, endSessions, kept }: Person) {
  const app = await startDesktop(world, { configuration });
  const console_ = new ConsolePage(app.page);
  const { page } = console_;
  const dialog = page.getByRole('dialog', { name: 'Log in at edge' });
  const logIn = async (password: string, code: string): Promise<void> => {
    await dialog.getByLabel('Password').fill(password);
    await dialog.getByLabel('Code, where there is a second factor').fill(code);
    await dialog.getByRole('button', { name: 'Log in' }).click();
  };
  const alone = page.getByText('all of 1 node', { exact: true });
  try {
    // Of whoever was never logged in: it asks by itself.
    await dialog.waitFor();
    world.equal(await focused(console_), 'User of edge', 'where the cursor is');
    await console_.accessible('a login');
    await console_.picture('desktop-login-dark');
    // A page that asks once, and is refused.
    await console_.goTo('#/access', 'Users and Keys');
    await dialog.getByLabel('User of edge').fill(account.name);
    await logIn(PASSWORD, '000000');
    await dialog
      .getByRole('alert')
      .getByText(/is wrong/)
      .waitFor();
    world.equal(await dialog.getByLabel('Password').inputValue(), '', 'the password after an attempt');
    await logIn(PASSWORD, account.code());
    await dialog.waitFor({ state: 'detached' });
    await alone.waitFor();
    await page.getByRole('grid', { name: 'Users' }).getByText('alice').waitFor();
    await console_.goTo('#/services', 'Services');
    await page.getByRole('link', { name: 'web' }).waitFor();
    await page.getByRole('option', { name: 'edge (bob)' }).waitFor({ state: 'attached' });
    world.equal(kept().user, 'bob', 'who is logged in for later commands');

    await endSessions();
    await dialog.getByText('The session of bob is over.').waitFor();
    world.equal(await focused(console_), 'Password', 'where the cursor is');
    await page.setViewportSize({ width: 390, height: 844 });
    await dialog.getByRole('button', { name: 'Not now' }).click();
    await page.getByRole('region', { name: 'Session' }).getByText('The session of bob is over.').waitFor();
    await console_.theme('light');
    await console_.accessible('a session that is over');
    world.equal(((await page.evaluate(CUT_OFF)) as string[]).join(), '', 'cut off at 390 px');
    await console_.picture('desktop-session-over-light-390');
    await ground.apply(node, ground.service('meanwhile', 8003));
    await page.getByRole('button', { name: 'Log in…' }).click();
    await console_.picture('desktop-login-light-390');
    await logIn(PASSWORD, account.recoveryCode());
    await dialog.waitFor({ state: 'detached' });
    await page.getByRole('link', { name: 'meanwhile' }).waitFor();
    await page.setViewportSize({ width: 1440, height: 900 });
    await logsOut(world, console_, kept);
    // What the agent has refused is Chromium's to complain of, not the page's.
    world.equal(console_.complaints.join('\n'), '', 'errors in the console of the page');
    const logs = [path.join(world.scope.logs, 'desktop.log'), path.join(configuration, 'marcher/console/console.log')];
    const said = logs.map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('');
    world.check(!/four words|000000/.test(said + kept().text), 'a password or a code is in a file');
  } finally {
    await app.close();
  }
}

async function logsOut(world: World, console_: ConsolePage, kept: Person['kept']): Promise<void> {
  const { page } = console_;
  await page.getByRole('button', { name: 'Account' }).click();
  const account = page.getByRole('dialog', { name: 'Account' });
  await account.getByText('user:bob').waitFor();
  await account.getByText('administrator').waitFor();
  await console_.accessible('who one is');
  await console_.picture('desktop-account-light');
  await account.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('region', { name: 'Session' }).getByText('Nobody is logged in.').waitFor();
  await page.getByRole('region', { name: 'What is not known' }).waitFor();
  world.equal(kept().user, undefined, 'who is logged in after a logout');
}

/** The label of what has the focus. */
const focused = (console_: ConsolePage): Promise<unknown> =>
  console_.page.evaluate(
    'document.activeElement?.closest("label")?.firstChild?.textContent + (document.activeElement?.closest("label")?.childNodes[1]?.textContent ?? "")',
  );
