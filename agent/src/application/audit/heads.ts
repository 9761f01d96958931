// SPDX-License-Identifier: Apache-2.0
/**
 * Heads of audit logs as they are replicated: each node signs how far its log has come, all keep what they have seen, and
 * none can take back what it has signed without the others noticing.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type Finding, type Hash, type Head, headBytes, isHead } from '@marcher/audit';
import { AuditHeadSchema } from '@marcher/proto/marcher/mesh/v1/audit_head_pb';
import { contradictions, judgeHead, superfluous } from '../../domain/audit/heads.js';
import type { CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { EXISTENCE, visible } from '../../domain/replication/object.js';
import type { AuditLog } from '../../ports/audit.js';
import type { KnownHeads } from './audit.js';

/** The kind of the replicated object; its id is the node's. */
export const AUDIT_HEAD_KIND = 'AuditHead';
const HEAD_GROUP = '1';
/** Between two looks at whether there is something to sign. */
export const AUDIT_HEAD_MS = 30_000;

export interface AuditHeadsOptions {
  readonly nodeId: string;
  readonly log: AuditLog;
  readonly cells: Pick<ReplicaStore, 'object'>;
  readonly hash: Hash;
  /** By this node's frame key, of a hash. */
  readonly sign: (hash: Uint8Array) => Uint8Array;
  readonly verify: KnownHeads['verify'];
  readonly keyOf: KnownHeads['keyOf'];
  /** Ids of the nodes that are in the mesh. */
  readonly members: () => Iterable<string>;
  /** Makes it known to all; throws when this node can't write now. */
  readonly write: (writes: readonly CellWrite[]) => void;
  readonly nowMs: () => number;
  readonly logger: {
    debug(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

export class AuditHeads implements KnownHeads {
  readonly #options: AuditHeadsOptions;
  /** By node. */
  readonly #findings = new Map<string, readonly Finding[]>();

  constructor(options: AuditHeadsOptions) {
    this.#options = options;
    const byNode = Map.groupBy(options.log.heads(), ({ node }) => node);
    for (const [node, heads] of byNode) this.#judge(node, heads);
  }

  get nodeId(): string {
    return this.#options.nodeId;
  }

  verify(node: string, hash: Uint8Array, signature: Uint8Array): boolean {
    return this.#options.verify(node, hash, signature);
  }

  keyOf(node: string): Uint8Array | undefined {
    return this.#options.keyOf(node);
  }

  /** Of nodes that are in the mesh: whoever has lost its log is removed, and joins again. */
  findings(): readonly Finding[] {
    return [...this.#options.members()].flatMap((node) => this.#findings.get(node) ?? []);
  }

  /** The replicated heads of these nodes look different now, or may not have been looked at. Never throws. */
  changed(nodes: Iterable<string>): void {
    for (const node of nodes) {
      try {
        this.#take(node);
      } catch (error) {
        this.#options.logger.warn({ node, reason: String(error) }, "a head of a node's audit log could not be kept");
      }
    }
  }

  #take(node: string): void {
    const { log, logger, hash } = this.#options;
    const head = this.#replicated(node);
    // Without the node's record, with which this is called again, nobody can tell.
    if (head === undefined || this.keyOf(node) === undefined) return;
    if (!this.verify(node, hash(headBytes(head)), head.signature)) {
      const fields = { node, sequence: head.sequence };
      logger.warn(fields, 'a head of an audit log is not signed by its node: it is not used');
      return;
    }
    const kept = log.heads(node);
    if (judgeHead(kept, head).kind === 'old') return;
    const heads = [...kept, head];
    log.keepHeads([head], superfluous(heads));
    this.#judge(node, heads);
  }

  #judge(node: string, heads: readonly Head[]): void {
    const before = new Set((this.#findings.get(node) ?? []).map(({ kind, sequence }) => `${kind} ${sequence}`));
    const findings = contradictions(heads);
    for (const { kind, sequence, message } of findings) {
      if (before.has(`${kind} ${sequence}`)) continue;
      this.#options.logger.error({ node, sequence, kind, reason: message }, "a node's audit log is not what it was");
    }
    this.#findings.set(node, findings);
  }

  /** As it is in the cells; undefined: there is none of the expected form. */
  #replicated(node: string): Head | undefined {
    const groups = new Map(this.#options.cells.object(AUDIT_HEAD_KIND, node).map((cell) => [cell.group, cell]));
    for (const { group, value } of visible(groups)) {
      if (group === HEAD_GROUP && value !== undefined) return unpackHead(node, value);
    }
    return undefined;
  }

  /** Signs what this node's log has come to, if the others do not know that yet. Never throws. */
  publish(): void {
    const { log, nodeId, hash, sign, nowMs, write, logger } = this.#options;
    try {
      const { sequence, hash: hashed } = log.end();
      const known = this.#replicated(nodeId);
      const same = known !== undefined && known.sequence === sequence && Buffer.compare(known.hash, hashed) === 0;
      if (sequence === 0 || (same && this.verify(nodeId, hash(headBytes(known)), known.signature))) return;
      // Ever later, also where the machine's clock was set back: others tell by it which of two was signed first.
      const timeMs = Math.max(nowMs(), ...log.heads(nodeId).map((head) => head.timeMs + 1));
      const unsigned = { node: nodeId, log: log.name, sequence, hash: hashed, timeMs };
      const head = { ...unsigned, signature: sign(hash(headBytes(unsigned))) };
      const key = { kind: AUDIT_HEAD_KIND, id: nodeId };
      const existence = { ...key, group: EXISTENCE, value: new Uint8Array(0) };
      const written = { ...key, group: HEAD_GROUP, value: packHead(head) };
      write(known === undefined ? [existence, written] : [written]);
      this.changed([nodeId]);
    } catch (error) {
      // Tried again in time: the log itself is complete without.
      logger.debug({ reason: String(error) }, 'the head of the audit log is made known later');
    }
  }
}

function packHead({ log, sequence, hash, timeMs, signature }: Head): Uint8Array {
  const init = { log, sequence: BigInt(sequence), hash, timeMs: BigInt(timeMs), signature };
  return toBinary(AuditHeadSchema, create(AuditHeadSchema, init));
}

/** Who wrote it may have been anybody in the mesh. */
function unpackHead(node: string, bytes: Uint8Array): Head | undefined {
  try {
    const { log, sequence, hash, timeMs, signature } = fromBinary(AuditHeadSchema, bytes);
    const head = { node, log, sequence: Number(sequence), hash, timeMs: Number(timeMs), signature };
    return isHead(head) ? head : undefined;
  } catch {
    return undefined;
  }
}
