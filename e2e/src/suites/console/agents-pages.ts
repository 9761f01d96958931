// SPDX-License-Identifier: Apache-2.0
/** Every page, of three agents that carry traffic: what stands there is what they do. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { AccessRole } from '@marcher/proto/marcher/v1/access_service_pb';
import type { Case, World } from '../../harness/suite.js';
import type { MeshNode } from '../mesh/ground.js';
import { withConsole } from './browser.js';
import { lookAt, type Shot } from './pages.js';
import { accessOf } from './second-factor.js';
import { threeAgents } from './three-agents.js';

const OBJECTS = `apiVersion: marcher/v1
guards:
  - name: edge
    rules: [{ action: deny, sources: ["203.0.113.0/24"] }]
trafficPolicies:
  - name: gold
    priority: P1
    egress: { rate: 400mbit }
`;

export const agentsPages: readonly Case[] = [
  {
    name: 'three agents: every page in both themes shows what they do, and nothing that axe finds',
    limitSeconds: 240,
    run: async (world: World) => {
      const { nodes, loads, address } = await threeAgents(world);
      const [first, second] = nodes;
      await furnish(world, first);
      const { mesh } = await second.mesh.getMesh({});
      const id = mesh?.nodeId ?? '';
      await withConsole(world, address, async (console_) => {
        await console_.page.getByText('all of 3 nodes').waitFor();
        for (const shot of shots(id)) await lookAt(console_, shot, `agents-${shot.name}`);
      });
      await Promise.all(loads.map((load) => world.settle(load)));
    },
  },
];

/** What no service has, so that each page has something. */
async function furnish(world: World, { agent }: MeshNode): Promise<void> {
  const must = async (...command: readonly string[]): Promise<void> => {
    const { code, stdout, stderr } = await agent.marcher(...command);
    world.equal(code, 0, `marcher ${command.join(' ')}: ${stderr || stdout}`);
  };
  const file = path.join(world.scope.dir, 'objects.yaml');
  writeFileSync(file, OBJECTS);
  await must('apply', '-f', file);
  await must('cluster', 'create', 'eu');
  await must('cluster', 'assign', 'node-1', 'eu');
  await must('certificate', 'issue', 'api', '--san', 'api.example');
  await accessOf(agent).createUser({ name: 'eve', role: AccessRole.VIEWER, password: 'four words, or rather five' });
}

const shots = (id: string): readonly Shot[] => [
  { hash: '#/', heading: 'Dashboard', name: 'dashboard', there: /^[1-9][\d.,]*$/ },
  { hash: '#/services', heading: 'Services', name: 'services', there: 'web' },
  { hash: '#/services/web', heading: /web/, name: 'service', there: '10.77.0.1:8080' },
  { hash: '#/proxies', heading: 'Proxies', name: 'proxies', there: 'node-3' },
  { hash: `#/proxies/${id}`, heading: /node-2/, name: 'proxy', there: id },
  { hash: '#/connections', heading: 'Connections', name: 'connections', there: /through the relay of 3 live nodes/ },
  { hash: '#/logs/web', heading: 'Logs', name: 'logs', there: /10\.77\.0\.2/ },
  { hash: '#/latency/web', heading: 'Latency', name: 'latency', there: 'node-2' },
  { hash: '#/shaping/gold', heading: 'Traffic Shaping', name: 'shaping', there: 'Policy gold' },
  { hash: '#/guards/edge', heading: 'Guards', name: 'guards', there: 'Guard edge' },
  { hash: '#/clusters/eu', heading: 'Clusters', name: 'clusters', there: 'Cluster eu' },
  { hash: '#/certificates/api', heading: 'Certificates', name: 'certificates', there: 'api.example' },
  { hash: '#/access/user:eve', heading: 'Users and Keys', name: 'access', there: 'User eve' },
  { hash: '#/mesh', heading: 'Mesh', name: 'mesh', there: id },
  { hash: '#/conflicts', heading: 'Conflicts', name: 'conflicts' },
  { hash: '#/history', heading: 'History', name: 'history', there: 'edge' },
  { hash: '#/audit', heading: 'Audit Log', name: 'audit', there: /ConfigService\/Apply/ },
];
