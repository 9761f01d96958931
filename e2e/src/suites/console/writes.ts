// SPDX-License-Identifier: Apache-2.0
/** Three agents that carry traffic, changed and watched from the browser. */
import { until } from '../../harness/scope.js';
import type { Case, World } from '../../harness/suite.js';
import { withConsole } from './browser.js';
import { threeAgents } from './three-agents.js';

const TEXT = `apiVersion: marcher/v1
services:
  - name: from-console
    listeners: [{ protocol: tcp, port: 8010 }]
    backends: [{ name: b1, address: "10.77.0.1:8080" }]
`;

export const writes: readonly Case[] = [
  {
    name: 'three agents: a service planned, applied and taken back; a node drained through another; one killed and back',
    run: async (world: World) => {
      const { ground, nodes, loads, address } = await threeAgents(world);
      const [first, second, third] = nodes;
      await withConsole(world, address, async (console_) => {
        const { page } = console_;
        await page.getByText('all of 3 nodes').waitFor();
        // Rates of what clients really do.
        await page
          .locator('.tile', { hasText: 'New / s' })
          .getByText(/^[1-9]/)
          .waitFor();

        await console_.goTo('#/services', 'Services');
        const making = page.getByRole('button', { name: 'New service' });
        world.check(await making.isDisabled(), 'a change is offered before it is unlocked');
        await console_.unlock();
        // A part that can't be loaded is said, and tried again.
        const part = /\/assets\/file-form-.*\.js$/;
        await page.route(part, (route) => route.abort());
        await making.click();
        await page
          .getByRole('dialog')
          .getByText(/Failed to fetch .*Try again/)
          .waitFor();
        await page.unroute(part);
        const complaints = console_.complaints.splice(0).join('\n');
        world.equal(complaints, 'Failed to load resource: net::ERR_FAILED', 'what the browser says of it');
        await page.getByRole('button', { name: 'Cancel', exact: true }).click();
        await making.click();
        const text = page.getByRole('textbox', { name: 'As in a file of marcher apply' });
        await text.fill(TEXT.replace('port: 8010', 'port: 70000'));
        await page.getByRole('button', { name: 'Plan', exact: true }).click();
        await page.locator('.violations').getByText(/70000/).first().waitFor();
        await console_.accessible('violations');
        // What the agent finds comes after a plan, what the text lacks before.
        const back = page.getByRole('button', { name: 'Back to the text' });
        if (await back.isVisible()) await back.click();
        await text.fill(TEXT);
        await page.getByRole('button', { name: 'Plan', exact: true }).click();
        await page.getByText('Plan: 1 to create, 0 to change, 0 to remove').waitFor();
        await page.getByText('Show as CLI').click();
        await page.getByText(/marcher apply -f - .*--expected-version \d+/).waitFor();
        await console_.accessible('plan');
        await console_.picture('plan-dark');
        world.equal((await first.agent.config.list({})).resources.length, 1, 'services before it was applied');
        await page.getByLabel(/^Why/).fill('by the console');
        await page.getByRole('button', { name: 'Apply', exact: true }).click();
        await page.getByText(/^Applied as version/).waitFor();
        await ground.agreed(['from-console', 'web']);
        await page.getByRole('button', { name: 'Undo', exact: true }).click();
        await page
          .getByText(/^Taken back: version/)
          .first()
          .waitFor();
        await ground.agreed(['web']);
        await page.getByRole('button', { name: 'Done', exact: true }).click();

        await console_.goTo('#/history', 'History');
        await page.getByRole('gridcell', { name: 'by the console', exact: true }).waitFor();

        await console_.goTo('#/proxies', 'Proxies');
        await page.getByRole('link', { name: 'node-2', exact: true }).click();
        await page.getByRole('button', { name: 'Drain', exact: true }).click();
        const dialog = page.getByRole('dialog');
        const drain = dialog.getByRole('button', { name: 'Drain', exact: true });
        world.check(await drain.isDisabled(), 'a node is drained without its name');
        await dialog.getByLabel('Type node-2 to confirm').fill('node-2');
        await drain.click();
        // Before, it says "from now on".
        await dialog.getByText('It takes no new connections;').waitFor();
        world.equal((await second.agent.node.status({})).draining, true, 'node-2 draining');
        world.equal((await first.agent.node.status({})).draining, false, 'node-1 draining');
        await dialog.getByRole('button', { name: 'Undo', exact: true }).click();
        await dialog.getByText('It takes new connections again.').waitFor();
        await dialog.getByRole('button', { name: 'Done', exact: true }).click();

        await console_.goTo('#/', 'Dashboard');
        third.agent.kill('SIGKILL');
        await third.agent.exited();
        const banner = page.getByRole('region', { name: 'What is not known' });
        await banner.getByText(/2 of 3 nodes; 1 stale/).waitFor();
        await console_.accessible('stale');
        await console_.picture('stale-dark');
        await third.agent.start();
        await banner.waitFor({ state: 'detached', timeout: 45_000 });
        await page.getByText('all of 3 nodes').waitFor();
      });
      await until('node-2 to take connections again', async () => !(await second.agent.node.status({})).draining);
      const [kept] = await Promise.all(loads.map((load) => world.settle(load)));
      world.equal(kept?.failed, 0, 'connections that were lost at a node that was not drained');
    },
  },
];
