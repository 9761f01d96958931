// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates of services at this node: as part of what is replicated, renewed in time where this node signs, and in the
 * directory from which programs on the machine read them.
 */
import { certificateTools } from '../adapters/outbound/identity/certificate-chain.js';
import { CertificateDirectory, type DirectoryFile } from '../adapters/outbound/identity/certificate-directory.js';
import { openSecretBox } from '../adapters/outbound/identity/secret-box.js';
import { frameHash } from '../adapters/outbound/mesh/frame-keys.js';
import { MeshSecrets } from '../application/mesh/secrets.js';
import { ServiceCertificates } from '../application/mesh/service-certificates.js';
import type { NodeCondition } from '../application/node.js';
import { guarded } from '../application/unavailable.js';
import { nodeNumber } from '../domain/identity/names.js';
import { NODE_KIND } from '../domain/mesh/node-record.js';
import { SECRETS_KEY_KIND, SECRETS_RECIPIENT_KIND } from '../domain/mesh/secrets-key.js';
import {
  REVOKED_CERTIFICATE_KIND,
  SERVICE_CERTIFICATE_KIND,
  type Standing,
} from '../domain/mesh/service-certificate.js';
import type { CellWrite } from '../domain/replication/contract.js';
import type { Told } from '../ports/audit.js';
import type { ServiceCertificate } from '../ports/certificates.js';
import { tell } from './auditing.js';
import { aliveOthers } from './membership.js';
import { rootsOf } from './operators.js';
import type { Part } from './part.js';

/** What comes in bursts is looked at once. */
const SOON_MS = 100;
/** Until this node has said what is sealed to it. */
const FIRST_MS = 1_000;
const LOOK_MS = 60_000;
/** More say nothing more. */
const NAMED_MAX = 5;
const ROOTS_FILE = 'mesh-roots.crt';
const KINDS: ReadonlySet<string> = new Set([
  SERVICE_CERTIFICATE_KIND,
  REVOKED_CERTIFICATE_KIND,
  SECRETS_KEY_KIND,
  SECRETS_RECIPIENT_KIND,
  NODE_KIND,
]);

type Fixed = Pick<
  Part,
  'options' | 'files' | 'timers' | 'identity' | 'cells' | 'nodes' | 'replication' | 'verifier' | 'signer'
>;

export class Certificates {
  readonly services: ServiceCertificates;
  readonly #part: () => Part;
  readonly #fixed: Fixed;
  readonly #secrets: MeshSecrets;
  readonly #directory: CertificateDirectory | undefined;
  #soon = false;
  #working: Promise<void> | undefined;
  #directoryFault = '';
  #renewalFaults: readonly string[] = [];

  /** part: asked for when there is something to tell; what is before that is read here. */
  constructor(fixed: Fixed, part: () => Part) {
    const { identity, cells, nodes, replication, verifier, signer, files, options } = fixed;
    const { mesh, nodeId } = identity;
    this.#fixed = fixed;
    this.#part = part;
    const write = (author: string, message: string, writes: readonly CellWrite[], told?: Told): void => {
      replication.write(author, message, writes, told && (() => tell(part(), 'done', told)));
    };
    this.#secrets = new MeshSecrets({
      ...{ meshId: mesh.id, nodeId, cells, nowMs: Date.now, hash: frameHash },
      box: openSecretBox(files.directory),
      members: () => new Set(nodes.members.keys()),
      isRemoved: (id) => nodes.known.has(id) && !nodes.members.has(id),
      sign: (hash) => signer.sign(hash),
      verify: (id, hash, signature) => verifier.verify(nodeNumber(id), hash, signature),
      write: (message, writes) => write(options.nodeName, message, writes),
      used: () => this.services.usedKeys(),
    });
    this.services = new ServiceCertificates({
      ...{ cells, tools: certificateTools, secrets: this.#secrets, nowMs: Date.now },
      authority: () => identity.authority,
      signers: () => [...nodes.members.values()].filter(({ role }) => role === 'authority').map(({ name }) => name),
      roots: () => identity.roots,
      write: (change) => {
        write(change.by.author, `certificate ${change.name}: ${change.message}`, change.writes, told(change));
        const { action, name, by } = change;
        options.log.info({ certificate: name, action, author: by.author }, 'a certificate of a service was changed');
      },
      tell: (change) => guarded(() => tell(part(), 'done', told(change))),
    });
    const path = options.settings.certificatesDir;
    this.#directory = path === undefined ? undefined : new CertificateDirectory(path);
    this.#secrets.load();
    this.services.load();
  }

  start(): void {
    this.#inTurn(FIRST_MS);
  }

  /** Objects of that kind look different now. */
  changed(kind: string, ids: readonly string[]): void {
    if (!KINDS.has(kind)) return;
    this.#secrets.changed(kind, ids);
    this.services.changed(kind, ids);
    if (this.#soon) return;
    this.#soon = true;
    this.#fixed.timers.after(SOON_MS, () => {
      this.#soon = false;
      this.#share(true);
      this.#deliver();
    });
  }

  /** What is due, now: of tests, else in its turn. */
  look(): Promise<void> {
    this.#working ??= this.#look().finally(() => {
      this.#working = undefined;
    });
    return this.#working;
  }

  #inTurn(waitMs: number): void {
    // Not all nodes at once.
    this.#fixed.timers.after(waitMs * (0.75 + Math.random() / 2), () => {
      void this.look().finally(() => this.#inTurn(this.#fixed.replication.admitted ? LOOK_MS : FIRST_MS));
    });
  }

  async #look(): Promise<void> {
    const { identity, nodes, options, timers, replication } = this.#fixed;
    this.#deliver();
    if (timers.stopped || !replication.admitted) return;
    this.#share(false);
    const old = this.services.forgetWrites();
    const { nodeName } = options;
    if (old.length > 0) this.#attempt(() => replication.write(nodeName, 'old revocations are forgotten', old));
    const signs = (id: string): boolean => nodes.members.get(id)?.role === 'authority';
    const alive = aliveOthers(this.#part()).filter(signs);
    const by = { author: nodeName, origin: 'api' } as const;
    const faults = await this.services.renewDue(identity.nodeId, alive, by);
    for (const reason of faults) {
      if (!this.#renewalFaults.includes(reason)) options.log.warn({ reason }, 'a certificate is renewed later');
    }
    this.#renewalFaults = faults;
  }

  #share(turn: boolean): void {
    if (!this.#fixed.replication.admitted) return;
    this.#attempt(() => this.#secrets.keep(aliveOthers(this.#part()), turn));
  }

  #attempt(work: () => unknown): void {
    try {
      work();
    } catch (error) {
      this.#fixed.options.log.debug({ reason: String(error) }, 'certificates and their keys are seen to later');
    }
  }

  #deliver(): void {
    if (this.#directory === undefined) return;
    const { log } = this.#fixed.options;
    try {
      const changed = this.#directory.sync(this.#files());
      if (changed.length > 0)
        log.info({ files: changed.slice(0, NAMED_MAX), count: changed.length }, 'certificates were written');
      this.#directoryFault = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#directoryFault) log.error({ reason }, 'certificates could not be written');
      this.#directoryFault = reason;
    }
  }

  /** A key before its certificate: who waits for that finds both. */
  #files(): DirectoryFile[] {
    const roots = { name: ROOTS_FILE, text: rootsOf(this.#fixed), secret: false };
    const pairs = [...this.services.pairs()].flatMap(({ name, chain, key }) => [
      { name: `${name}.key`, text: key, secret: true },
      { name: `${name}.pem`, text: chain, secret: false },
    ]);
    return [roots, ...pairs];
  }

  conditions(): NodeCondition[] {
    const found: NodeCondition[] = [];
    const add = (type: string, reason: string, message: string): void => {
      found.push({ type, status: false, reason, message });
    };
    const all = this.services.list();
    for (const { standing, reason, what, fix } of COMPLAINTS) {
      const those = all.filter((each) => each.standing === standing);
      if (those.length > 0) add('CertificatesValid', reason, `${named(those)}: ${what}: ${fix}`);
    }
    const closed = all.filter(({ keyAvailable }) => !keyAvailable);
    if (closed.length > 0) {
      const fix = 'a member that has what opens them gives it, as soon as one is there';
      add('CertificateKeys', 'NotGiven', `${named(closed)}: this node can't open the keys: ${fix}`);
    }
    if (this.#directoryFault !== '') add('CertificatesWritten', 'WriteFailed', this.#directoryFault);
    return found;
  }
}

const COMPLAINTS: readonly {
  readonly standing: Standing;
  readonly reason: string;
  readonly what: string;
  readonly fix: string;
}[] = [
  {
    standing: 'expired',
    reason: 'Expired',
    what: 'expired',
    fix: 'marcher certificate renew NAME, or of imported ones: import --replace',
  },
  {
    standing: 'expiring',
    reason: 'Expiring',
    what: 'imported, and at an end within 14 days',
    fix: 'marcher certificate import NAME --replace',
  },
  {
    standing: 'late',
    reason: 'NotRenewed',
    what: 'not renewed in time',
    fix: "have a node there that holds the CA's key, or marcher certificate renew NAME",
  },
  {
    standing: 'not-yet-valid',
    reason: 'NotYetValid',
    what: 'not valid yet',
    fix: "compare this node's clock",
  },
];

/** With the end of each, the earliest first. */
function named(certificates: readonly ServiceCertificate[]): string {
  const sorted = [...certificates].sort((one, other) => one.facts.leaf.notAfterMs - other.facts.leaf.notAfterMs);
  const shown = sorted
    .slice(0, NAMED_MAX)
    .map(({ name, facts }) => `${name} (until ${new Date(facts.leaf.notAfterMs).toISOString().slice(0, 16)}Z)`);
  const more = sorted.length > NAMED_MAX ? ` and ${sorted.length - NAMED_MAX} more` : '';
  return `certificates ${shown.join(', ')}${more}`;
}

function told(change: {
  readonly action: string;
  readonly name: string;
  readonly by: Told['by'];
  readonly message: string;
}): Told {
  const { action, name, by, message } = change;
  return { action, by, objects: [`Certificate/${name}`], message };
}
