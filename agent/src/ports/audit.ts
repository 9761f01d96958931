// SPDX-License-Identifier: Apache-2.0
/**
 * The audit log: where use cases tell what they do (AuditTrail), what operators ask of it (AuditUseCases), and where it is
 * kept (AuditLog). Records and their chain are those of @marcher/audit.
 */
import type { Anchor, AuditEntry, AuditRecord, Finding, Head, Link, Outcome } from '@marcher/audit';

export type { Anchor, AuditEntry, AuditRecord, Finding, Head, Link, Outcome } from '@marcher/audit';

/** What was done, or tried, and by whom. */
export interface Told {
  /** See domain/audit/actions.ts; of a call its method, "marcher.v1.ConfigService/Apply". */
  readonly action: string;
  /** A Caller, as a rule. */
  readonly by: { readonly author: string; readonly via?: string; readonly source?: string };
  /** "Service/web" */
  readonly objects?: readonly string[];
  /** How many there are besides. */
  readonly moreObjects?: number;
  readonly version?: bigint;
  readonly message?: string;
}

export interface AuditTrail {
  /**
   * Into the transaction that is open, so that neither is there without the other; where none is, into a durable one of its
   * own. Throws StoreError: then what it tells of may not be done.
   */
  record(outcome: 'done' | 'failed', told: Told): void;
  /** Soon, and those that are alike together. Never throws. */
  denied(told: Told): void;
}

/** Absent: whatever it is. */
export interface AuditQuery {
  readonly sinceMs?: number;
  readonly untilMs?: number;
  /** The whole name. */
  readonly actor?: string;
  /** Of the action; a part of it after the last "." or "/" is enough: "ConfigService", "Apply". */
  readonly actionPrefix?: string;
  readonly outcome?: Outcome;
  /** "Service/web", or only the name: "web". */
  readonly object?: string;
  /** Only records below this sequence. 0: the newest. */
  readonly before: number;
  readonly limit: number;
}

export interface AuditPage {
  /** The newest first. */
  readonly records: readonly AuditRecord[];
  /** For `before` of the next page, which may be there though this one is not full; 0: there are no more. */
  readonly next: number;
}

export interface AuditVerdict {
  /** Id of the node in its mesh, else its name. */
  readonly node: string;
  readonly records: number;
  /** Records up to there were dropped. 0: none. */
  readonly floor: number;
  readonly end: Anchor;
  /** Heads of this log that were compared with it. */
  readonly headsChecked: number;
  /** Of this log, and of what is known of other nodes'. */
  readonly findings: readonly Finding[];
  readonly moreFindings: number;
}

/** What an export begins with. */
export interface AuditOrigin {
  readonly node: string;
  readonly log: Uint8Array;
  readonly anchor: Anchor;
}

export type AuditExportItem =
  | { readonly kind: 'origin'; readonly origin: AuditOrigin }
  | { readonly kind: 'record'; readonly link: Link }
  /** key: the node's frame key (Ed25519, 32 bytes) as this node knows it. */
  | { readonly kind: 'head'; readonly head: Head; readonly key: Uint8Array };

export interface AuditUseCases extends AuditTrail {
  list(query: AuditQuery): AuditPage;
  verify(signal: AbortSignal): Promise<AuditVerdict>;
  /** The origin, the records, the oldest first, then the heads of all nodes that are known here. */
  export(signal: AbortSignal): AsyncIterable<AuditExportItem>;
}

/** Calls are synchronous; failures are StoreErrors. */
export interface AuditLog {
  /** Random, 16 bytes. */
  readonly name: Uint8Array;
  /** All or none, in the transaction that is open or in one of their own, durable when it has ended. */
  append(entries: readonly AuditEntry[]): void;
  /** Where it begins: what is up to there was dropped. */
  floor(): Anchor;
  /** Of the last record; as floor() where there is none. */
  end(): Anchor;
  /** In their order, those after that sequence. */
  read(after: number, limit: number): Link[];
  /** The newest first, those before that sequence. */
  readBack(before: number, limit: number): Link[];
  size(): { readonly records: number; readonly bytes: number };

  /** That were kept, of one node or of all. */
  heads(node?: string): Head[];
  /** Puts and drops all at once; a power failure may take that back. */
  keepHeads(put: readonly Head[], drop: readonly Head[]): void;
}
