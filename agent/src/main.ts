// SPDX-License-Identifier: Apache-2.0
/**
 * marcherd: the composition root, the one place that names concrete adapters.
 *
 * Order of starting: the state (locked, checked), the engine (adopted or started), the packet tier (adopted or loaded),
 * the last good configuration into both; only then the configuration source and the API, since traffic must not wait for either.
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { FileSource } from './adapters/inbound/file-watch/file-source.js';
import { createApiServer } from './adapters/inbound/grpc/api-server.js';
import { createHttpServer } from './adapters/inbound/http/http-server.js';
import { createArgon2Hasher } from './adapters/outbound/access/argon2-hasher.js';
import { nodeSecrets } from './adapters/outbound/access/node-secrets.js';
import { createTotpCodes } from './adapters/outbound/access/totp-codes.js';
import { openDataplane } from './adapters/outbound/dataplane/dataplane.js';
import { frameHash } from './adapters/outbound/mesh/frame-keys.js';
import { LibmarcherPacketTier } from './adapters/outbound/packet/packet-tier.js';
import { uninstallDataplane } from './adapters/outbound/packet/uninstall.js';
import { mallocTrim, watchSpareMemory } from './adapters/outbound/spare-memory.js';
import { AUDIT_LIMITS } from './adapters/outbound/sqlite/audit-log.js';
import { createLastGoodCopy } from './adapters/outbound/sqlite/last-good-copy.js';
import { openStore } from './adapters/outbound/sqlite/open-store.js';
import { createSystemdNotify } from './adapters/outbound/systemd-notify.js';
import { createAgent } from './agent.js';
import { createAccounts } from './application/access/accounts.js';
import { Audit } from './application/audit/audit.js';
import { createCertificates } from './application/certificates.js';
import { BackendLoads } from './application/mesh/backend-loads.js';
import type { NodeCondition } from './application/node.js';
import { type AgentConfig, readCommand, type Uninstall } from './config.js';
import { embeddedCountryDatabase } from './country-database.js';
import { createLog, type Log } from './log.js';
import { Mesh } from './mesh.js';
import { RemoteApi } from './remote-api.js';

/** sysexits.h: 64 usage, 69 unavailable, 75 try again later. */
const EXIT = { usage: 64, unavailable: 69, busy: 75 } as const;

/** A change of so many services leaves garbage of tens of megabytes, which V8 alone would keep for a long time. */
const COLLECT_AFTER_SERVICES = 1_000;
/** Connections of an engine that is stopped with the agent have so long to finish. */
const STOP_DRAIN_MS = 30_000;

function agentVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { version: unknown }).version);
}

/** last-resort: also what is only kept in case that it is needed, compiled code and feedback among it. */
function garbageCollector(): (flavor: 'regular' | 'last-resort') => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options?: object) => void;
  return (flavor) => collect({ type: 'major', flavor });
}

/** Gives in which share of the time since it was asked last this thread had something to do. */
function busyShare(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}

function unreadableReason(path: string): string {
  if (path === '') return '';
  try {
    accessSync(path, constants.R_OK);
    return '';
  } catch (error) {
    return `the country database can't be read, so that the geo algorithm knows no countries: ${message(error)}; see --geoip`;
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function run(config: AgentConfig, log: Log): Promise<void> {
  // What is written belongs to this user alone; the API's socket is given its mode by itself.
  process.umask(0o077);
  const version = agentVersion();
  const opened = openStore(config.stateDir, Date.now());
  const { store, recovery } = opened;
  if (recovery !== undefined) log.error({ recovery }, 'the database was damaged');

  const { dataplane, peerCredentials } = await openDataplane({
    libraryPath: config.libraryPath,
    enginePath: config.enginePath,
    runDir: config.runDir,
    workers: config.workers,
    cpus: config.cpus,
    logLevel: config.logLevel,
    group: config.socketGroup,
    steer: { on: config.skLookup, directory: config.bpfDir },
  });
  const { steering } = dataplane;
  if (config.skLookup && !steering.on) {
    log.warn({ reason: steering.reason }, 'sk_lookup is not available: prefixes are not served by the relay');
  }

  const adopted = dataplane.status().adopted;
  const geoipPath = config.geoipPath ?? embeddedCountryDatabase();
  const libraries = dataplane.selfCheck();
  const misresolved = [
    ...libraries.libraries.filter(({ ok }) => !ok).map((l) => `${l.symbol} is of ${l.resolved}, not of ${l.expected}`),
    ...libraries.forbidden.map((what) => `${what} must not be there`),
  ].join('; ');
  if (!libraries.ok) log.error({ reason: misresolved }, 'libmarcher is not linked as it was built');
  const collect = garbageCollector();
  let copyFailure = '';
  const copy = createLastGoodCopy(config.stateDir, store, {
    onWritten: () => {
      copyFailure = '';
    },
    onFailure: (error) => {
      copyFailure = message(error);
      log.warn({ reason: copyFailure }, 'the copy of the configuration could not be written');
    },
  });
  let source: FileSource | undefined;
  const conditions = (): NodeCondition[] => {
    const out: NodeCondition[] = [];
    const damage = opened.damage();
    if (damage !== undefined) out.push({ type: 'StoreIntact', status: false, reason: 'Recovered', message: damage });
    if (!libraries.ok)
      out.push({ type: 'LibrariesAsBuilt', status: false, reason: 'Misresolved', message: misresolved });
    if (copyFailure !== '')
      out.push({ type: 'CopyWritten', status: false, reason: 'WriteFailed', message: copyFailure });
    const unreadable = unreadableReason(geoipPath);
    if (unreadable !== '')
      out.push({ type: 'CountryDatabase', status: false, reason: 'Unreadable', message: unreadable });
    if (source !== undefined) out.push({ type: 'SourceApplied', ...source.condition });
    out.push(...(mesh?.conditions() ?? []), ...(remote?.conditions() ?? []));
    return out;
  };

  const packetTier = new LibmarcherPacketTier({
    interfaces: config.interfaces,
    pinDir: config.bpfDir,
    xdpMode: config.xdpMode,
    egressShaping: config.egressShaping,
    natFlows: config.natFlows,
    libraryPath: config.libraryPath,
  });
  const auditLog = store.openAudit({ ...AUDIT_LIMITS, bytes: config.auditBytes });
  const audit = new Audit({
    log: auditLog,
    nodeName: config.nodeName,
    hash: frameHash,
    nowMs: Date.now,
    known: () => mesh?.auditHeads,
    logger: log,
  });
  const access = createAccounts({
    meshOf: () => mesh?.access,
    hasher: createArgon2Hasher(),
    codes: createTotpCodes(),
    secrets: nodeSecrets,
    nowMs: Date.now,
  });
  const remote = config.remoteApi && new RemoteApi({ settings: config.remoteApi, authenticator: access, log });
  const mesh =
    config.mesh &&
    new Mesh({
      settings: config.mesh,
      stateDir: config.stateDir,
      nodeName: config.nodeName,
      store,
      follow: (project) => agent.config.follow(project),
      exclusively: (work) => agent.config.exclusively(work),
      observe: () => agent.observed(),
      loads: () => loads,
      backends: () => agent.config.inventory.backends,
      onMaterial: (material) => remote?.take(material),
      onAccess: () => remote?.accessChanged(),
      answer: (request, response, caller) => api.handle(request, response, caller),
      log,
      audit: { log: auditLog, trail: audit },
    });
  const certificates = mesh && createCertificates(() => mesh.serviceCertificates);
  await mesh?.load();
  const agent = createAgent({
    store,
    replicated: () => mesh?.replicated,
    mesh: () => mesh,
    audit,
    dataplane,
    version,
    log,
    packetTier,
    natByTc: config.natFastPath === 'off',
    decapsulated: { addresses: config.decapsulated, guePort: config.guePort, mtu: config.decapsulateMtu },
    localAddresses: () =>
      Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
    owner: config.source,
    conditions,
    identity: {
      name: config.nodeName,
      region: config.region,
      country: config.country,
      geoipPath,
    },
    onVersion: (changed) => {
      copy.schedule();
      if (changed >= COLLECT_AFTER_SERVICES) setImmediate(collect, 'last-resort');
    },
    onDrained: () => copy.schedule(),
    onProgrammed: (services) => {
      if (services >= COLLECT_AFTER_SERVICES) setImmediate(collect, 'last-resort');
    },
  });
  const loads = new BackendLoads({
    services: () => agent.config.meshLoadServices,
    store,
    dataplane,
    hash: frameHash,
    monotonicMs: () => performance.now(),
  });
  await agent.start();
  if (recovery !== undefined) copy.schedule();

  const api = createApiServer({
    useCases: { ...agent, access, audit, ...(mesh === undefined ? {} : { mesh, certificates }) },
    peerCredentials,
    logger: log,
    socketPath: config.socketPath,
    socketGroup: config.socketGroup,
    tcp: config.api,
    remote: remote?.listener,
    relay: mesh?.relay,
  });
  const http =
    config.metrics && createHttpServer({ useCases: { ...agent, certificates }, ...config.metrics, logger: log });
  if (config.source !== undefined) {
    source = new FileSource({
      path: config.source,
      log,
      apply: ({ services, objects }, reason, caller) =>
        agent.config.apply(
          { upsert: services, remove: [], replaceAll: true, upsertObjects: objects },
          { expectedVersion: 0n, message: reason, omitDiff: true },
          caller,
        ),
    });
  }
  const systemd = createSystemdNotify(process.env, (reason) => log.warn({ reason }, 'systemd was not told'));

  let stopping: Promise<void> | undefined;
  const stop = (signal: string, stopEngine = config.stopEngineOnExit): Promise<void> => {
    stopping ??= (async () => {
      const consequence = stopEngine ? 'the engine is stopped too' : 'the engine carries on';
      log.info({ signal }, `stopping: ${consequence}`);
      systemd.stopping();
      await Promise.allSettled([source?.stop(), api.stop(), http?.stop()]);
      remote?.stop();
      await mesh?.stop();
      await agent.stop();
      await copy.flush();
      if (stopEngine)
        await dataplane
          .stop(STOP_DRAIN_MS)
          .catch((error) => log.warn({ reason: message(error) }, 'the engine was not stopped'));
      await packetTier.close();
      await dataplane.close();
      audit.stop();
      opened.close();
    })();
    return stopping;
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      void stop(signal).then(
        () => process.exit(0),
        (error: unknown) => {
          log.error({ reason: message(error) }, 'did not stop cleanly');
          process.exit(1);
        },
      );
    });
  }
  process.on('SIGHUP', () => {
    void source?.look(true);
    remote?.look();
    void agent.upgradeEngine();
  });

  try {
    await mesh?.start();
    await source?.start();
    await api.start();
    await http?.start();
  } catch (error) {
    // An engine that served before goes on; one that was started for this is not left behind.
    await stop('failed start', !adopted);
    throw error;
  }
  // Now: what it needs for itself, it has.
  const giveBack = mallocTrim();
  if (giveBack !== undefined) {
    watchSpareMemory({
      residentBytes: () => process.memoryUsage.rss(),
      busyShare: busyShare(),
      collect: () => collect('regular'),
      giveBack,
    });
  }
  const { services, backends } = agent.config.inventory;
  log.info({ version, pid: process.pid, services, backends, state: config.stateDir }, 'marcherd is ready');
  // What does not change: systemd keeps showing it.
  systemd.ready(`marcherd ${version} serves: see marcher status`);
}

function uninstall({ bpfDir, libraryPath, dryRun }: Uninstall): number {
  const outcome = uninstallDataplane({ pinDir: bpfDir, libraryPath, dryRun });
  const well = outcome.kind === 'done' || outcome.kind === 'nothing';
  (well ? process.stdout : process.stderr).write(`marcherd: ${outcome.text}\n`);
  if (outcome.kind === 'busy') return EXIT.busy;
  if (outcome.kind === 'unavailable') return EXIT.unavailable;
  return well ? 0 : 1;
}

async function main(): Promise<void> {
  const command = readCommand(process.argv.slice(2), process.env);
  switch (command.kind) {
    case 'help':
      process.stdout.write(command.text);
      return;
    case 'version':
      process.stdout.write(`marcherd ${agentVersion()}\n`);
      return;
    case 'mistakes':
      for (const mistake of command.mistakes) process.stderr.write(`marcherd: ${mistake}\n`);
      process.exitCode = EXIT.usage;
      return;
    case 'uninstall':
      process.exitCode = uninstall(command.uninstall);
      return;
    case 'run': {
      const log = createLog(command.config.logLevel, command.config.nodeName);
      process.on('uncaughtException', (error) => {
        log.error({ reason: error.message, stack: error.stack }, 'unexpected failure: ending, the engine carries on');
        process.exit(70);
      });
      try {
        await run(command.config, log);
      } catch (error) {
        log.error({ reason: message(error) }, 'marcherd can not start');
        const busy = (error as { code?: unknown }).code === 'busy';
        process.exit(busy ? EXIT.busy : EXIT.unavailable);
      }
    }
  }
}

await main();
