// SPDX-License-Identifier: Apache-2.0
/**
 * The audit log as use cases tell it what they do, and as operators read it. Everything that reads goes through the log
 * in pieces, with room between them for other work.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { type AuditRecord, ChainVerifier, decodeRecord, type Finding, type Hash } from '@marcher/audit';
import { DENIAL_RULES, type DenialRules, Denials } from '../../domain/audit/denials.js';
import type {
  AuditEntry,
  AuditExportItem,
  AuditLog,
  AuditPage,
  AuditQuery,
  AuditUseCases,
  AuditVerdict,
  Outcome,
  Told,
} from '../../ports/audit.js';
import { ApplicationError } from '../../ports/use-cases.js';
import { guarded } from '../unavailable.js';

/** What a mesh knows of its nodes' logs. */
export interface KnownHeads {
  readonly nodeId: string;
  verify(node: string, hash: Uint8Array, signature: Uint8Array): boolean;
  /** The node's frame key; undefined: it is not known. */
  keyOf(node: string): Uint8Array | undefined;
  /** What other nodes' heads contradict each other in. */
  findings(): readonly Finding[];
}

export interface AuditOptions {
  readonly log: AuditLog;
  readonly nodeName: string;
  readonly hash: Hash;
  readonly nowMs: () => number;
  /** undefined: this node is in no mesh. */
  readonly known?: () => KnownHeads | undefined;
  readonly logger: { warn(fields: object, message: string): void };
  readonly denials?: DenialRules;
}

/** Records that are read before other work has its turn. */
const PIECE = 512;
/** Records that one List looks at, however few of them are asked for. */
const SCANNED_MAX = 5_000;
const DENIED_EVERY_MS = 1_000;

export class Audit implements AuditUseCases {
  readonly #options: AuditOptions;
  readonly #denials: Denials;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #failure = '';

  constructor(options: AuditOptions) {
    this.#options = options;
    this.#denials = new Denials(options.denials ?? DENIAL_RULES, options.nowMs());
  }

  record(outcome: 'done' | 'failed', told: Told): void {
    this.#options.log.append([this.#entry(outcome, told)]);
  }

  denied(told: Told): void {
    this.#denials.note(this.#entry('denied', told));
    if (this.#stopped) this.#writeDenied(true);
    else this.#soon();
  }

  /** Writes what waits. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (this.#denials.waiting) this.#writeDenied(true);
  }

  #entry(
    outcome: Outcome,
    { action, by, objects = [], moreObjects = 0, version = 0n, message = '' }: Told,
  ): AuditEntry {
    const { author: actor, via = 'agent', source = '' } = by;
    const timeMs = this.#options.nowMs();
    return { timeMs, action, actor, via, source, outcome, objects, moreObjects, version, message, repeated: 0 };
  }

  #soon(): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#writeDenied(false);
      if (this.#denials.waiting) this.#soon();
    }, DENIED_EVERY_MS);
    this.#timer.unref();
  }

  #writeDenied(everything: boolean): void {
    const { entries, commit } = this.#denials.take(this.#options.nowMs(), everything);
    if (entries.length === 0) return;
    try {
      this.#options.log.append(entries);
      commit();
      this.#failure = '';
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#failure) {
        this.#options.logger.warn({ reason }, 'denied attempts could not be written into the audit log; trying again');
      }
      this.#failure = reason;
    }
  }

  list(query: AuditQuery): AuditPage {
    const { log } = this.#options;
    const records: AuditRecord[] = [];
    let before = query.before;
    for (let scanned = 0; scanned < SCANNED_MAX; ) {
      const links = guarded(() => log.readBack(before, PIECE));
      for (const { sequence, body } of links) {
        const record = decodeRecord(body);
        // Verify says what is wrong with such a one.
        if (typeof record !== 'string' && matches(record, query)) records.push({ ...record, sequence });
        before = sequence;
        if (records.length === query.limit)
          return { records, next: sequence === log.floor().sequence + 1 ? 0 : sequence };
      }
      if (links.length < PIECE) return { records, next: 0 };
      scanned += links.length;
    }
    return { records, next: before };
  }

  #nodeOf(known: KnownHeads | undefined): string {
    return known?.nodeId ?? this.#options.nodeName;
  }

  async verify(signal: AbortSignal): Promise<AuditVerdict> {
    const { log, hash, known: knownOf } = this.#options;
    const known = knownOf?.();
    const node = this.#nodeOf(known);
    const anchor = guarded(() => log.floor());
    const heads = known === undefined ? [] : guarded(() => log.heads(known.nodeId));
    const verify = known === undefined ? () => false : known.verify.bind(known);
    const verifier = new ChainVerifier({ node, log: log.name, anchor, heads, hash, verify });
    for await (const links of this.#pieces(anchor.sequence, signal)) for (const link of links) verifier.take(link);
    const { records, end, headsChecked, findings, moreFindings } = verifier.end();
    const others = (known?.findings() ?? []).filter((finding) => finding.node !== node);
    const counts = { records, floor: anchor.sequence, end, headsChecked, moreFindings };
    return { node, ...counts, findings: [...findings, ...others] };
  }

  /** As far as the log went when it was begun. */
  async *#pieces(floor: number, signal: AbortSignal) {
    const { log } = this.#options;
    const end = guarded(() => log.end()).sequence;
    for (let after = floor; after < end; ) {
      const links = guarded(() => log.read(after, PIECE)).filter(({ sequence }) => sequence <= end);
      if (guarded(() => log.floor()).sequence > after) {
        throw new ApplicationError('unavailable', 'the oldest records were dropped while the log was read: try again');
      }
      const last = links.at(-1);
      if (last === undefined) return;
      yield links;
      after = last.sequence;
      signal.throwIfAborted();
      await turn();
    }
  }

  async *export(signal: AbortSignal): AsyncIterable<AuditExportItem> {
    const { log, known: knownOf } = this.#options;
    const known = knownOf?.();
    const anchor = guarded(() => log.floor());
    yield { kind: 'origin', origin: { node: this.#nodeOf(known), log: log.name, anchor } };
    for await (const links of this.#pieces(anchor.sequence, signal)) {
      for (const link of links) yield { kind: 'record', link };
    }
    if (known === undefined) return;
    for (const head of guarded(() => log.heads())) {
      yield { kind: 'head', head, key: known.keyOf(head.node) ?? new Uint8Array(0) };
    }
  }
}

function matches(record: AuditRecord, query: AuditQuery): boolean {
  const { sinceMs, untilMs, actor, actionPrefix, outcome, object } = query;
  return (
    (sinceMs === undefined || record.timeMs >= sinceMs) &&
    (untilMs === undefined || record.timeMs < untilMs) &&
    (actor === undefined || record.actor === actor) &&
    (outcome === undefined || record.outcome === outcome) &&
    (actionPrefix === undefined || beginsAtAPart(record.action, actionPrefix)) &&
    (object === undefined || record.objects.some((name) => name === object || name.endsWith(`/${object}`)))
  );
}

function beginsAtAPart(action: string, prefix: string): boolean {
  if (action.startsWith(prefix)) return true;
  for (let i = 0; i < action.length; i++) {
    if ((action[i] === '.' || action[i] === '/') && action.startsWith(prefix, i + 1)) return true;
  }
  return false;
}
