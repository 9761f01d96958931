// SPDX-License-Identifier: Apache-2.0
/**
 * Whether a run of records is the chain that it says it is, and the one that others know the heads of. Takes the records
 * one by one, and holds none; goes on after a fault, so that all of them are found.
 */
import { type Anchor, dropObject, linkHash } from './chain.js';
import { type Head, headBytes, isHead } from './head.js';
import { type AuditRecord, decodeRecord, type Hash } from './record.js';

/** A record with its place and its hash, as they are kept or exported. */
export interface Link {
  readonly sequence: number;
  readonly body: Uint8Array;
  readonly hash: Uint8Array;
}

export type FindingKind =
  /** Records are missing between others. */
  | 'gap'
  /** A record, its hash or its place is not what was written. */
  | 'altered'
  /** The record has another hash than its node has signed. */
  | 'fork'
  /** The node has signed a record that is beyond the end. */
  | 'shortened'
  /** The node has signed a record of another log. */
  | 'replaced'
  /** A head was not signed by the node that it names, or is none. */
  | 'bad-signature';

export interface Finding {
  readonly kind: FindingKind;
  readonly node: string;
  /** Of the first record concerned. */
  readonly sequence: number;
  readonly message: string;
}

export interface ChainRules {
  /** Id or name of the node whose log it is, for the findings. */
  readonly node: string;
  readonly log: Uint8Array;
  /** Where the run begins: startOf(), or up to where records were dropped. */
  readonly anchor: Anchor;
  /** That its node has signed. */
  readonly heads: readonly Head[];
  readonly hash: Hash;
  /** Whether that node's key has signed this hash. May not throw. */
  readonly verify: (node: string, hash: Uint8Array, signature: Uint8Array) => boolean;
}

export interface Verdict {
  readonly records: number;
  /** The last record's place. */
  readonly end: Anchor;
  readonly headsChecked: number;
  /** By sequence, at most FINDINGS_MAX; and how many there were besides. */
  readonly findings: readonly Finding[];
  readonly moreFindings: number;
}

export const FINDINGS_MAX = 100;

export class ChainVerifier {
  readonly #rules: ChainRules;
  /** By sequence: heads of this log, signed well. */
  readonly #heads = new Map<number, Head[]>();
  readonly #findings: Finding[] = [];
  #more = 0;
  #records = 0;
  #headsChecked = 0;
  #end: Anchor;
  /** Hashes that the next record may follow: of an altered record the one it has and the one it should have. */
  #previous: readonly Uint8Array[];
  /** What has to be said of the records before the first, if they were dropped. */
  #dropped: string | undefined;

  constructor(rules: ChainRules) {
    this.#rules = rules;
    this.#end = rules.anchor;
    this.#previous = [rules.anchor.hash];
    this.#dropped = rules.anchor.sequence === 0 ? undefined : dropObject(rules.anchor);
    for (const head of rules.heads) this.#takeHead(head);
    this.#compare(rules.anchor);
  }

  #takeHead(head: Head): void {
    const { log, verify, hash } = this.#rules;
    const signed = isHead(head) && verify(head.node, hash(headBytes(head)), head.signature);
    if (!signed) {
      this.#find('bad-signature', head.sequence, 'a head of this log is not signed by its node: it is not used');
    } else if (!same(head.log, log)) {
      const when = new Date(head.timeMs).toISOString();
      this.#find('replaced', head.sequence, `its node had another log, with ${head.sequence} records, at ${when}`);
    } else {
      this.#heads.set(head.sequence, [...(this.#heads.get(head.sequence) ?? []), head]);
    }
  }

  /** The next one, in the order of the log. Returns what it says, where it can be read. */
  take({ sequence, body, hash }: Link): AuditRecord | undefined {
    const expected = this.#end.sequence + 1;
    const decoded = decodeRecord(body);
    const record = typeof decoded === 'string' ? undefined : decoded;
    if (sequence < expected) {
      this.#find('altered', sequence, `record ${sequence} stands after record ${this.#end.sequence}`);
      return record;
    }
    this.#records++;
    let followed = this.#previous;
    if (sequence > expected) {
      const last = sequence - 1;
      const which = last === expected ? `record ${expected} is missing` : `records ${expected} to ${last} are missing`;
      this.#find('gap', expected, `${which}; the one after can't be checked against what was before`);
      followed = [];
    }
    const computed = followed.map((previous) => linkHash(previous, body, this.#rules.hash));
    const fits = followed.length === 0 || computed.some((one) => same(one, hash));
    if (typeof decoded === 'string') this.#find('altered', sequence, `record ${sequence} can't be read: ${decoded}`);
    else if (decoded.sequence !== sequence) {
      this.#find('altered', sequence, `record ${decoded.sequence} stands in the place of record ${sequence}`);
    } else if (!fits) {
      this.#find('altered', sequence, `record ${sequence} or its hash is not what was written`);
    }
    this.#previous = fits ? [hash] : [hash, ...computed];
    this.#end = { sequence, hash };
    this.#compare(this.#end);
    if (this.#dropped !== undefined && record?.objects.includes(this.#dropped)) this.#dropped = undefined;
    return record;
  }

  #compare({ sequence, hash }: Anchor): void {
    for (const head of this.#heads.get(sequence) ?? []) {
      this.#headsChecked++;
      if (same(head.hash, hash)) continue;
      const when = new Date(head.timeMs).toISOString();
      this.#find('fork', sequence, `record ${sequence} is not the one that its node signed at ${when}`);
    }
  }

  end(): Verdict {
    const { anchor } = this.#rules;
    if (this.#dropped !== undefined) {
      const what = `records 1 to ${anchor.sequence} are missing, and none of the others says that they were dropped`;
      this.#find('gap', 1, what);
      this.#dropped = undefined;
    }
    const beyond = [...this.#heads.keys()].filter((sequence) => sequence > this.#end.sequence);
    if (beyond.length > 0) {
      const sequence = this.#end.sequence + 1;
      const known = Math.max(...beyond);
      this.#find('shortened', sequence, `the log ends at ${sequence - 1}, and its node has signed record ${known}`);
    }
    return {
      records: this.#records,
      end: this.#end,
      headsChecked: this.#headsChecked,
      findings: this.#findings.toSorted((a, b) => a.sequence - b.sequence),
      moreFindings: this.#more,
    };
  }

  #find(kind: FindingKind, sequence: number, message: string): void {
    if (this.#findings.length >= FINDINGS_MAX) this.#more++;
    else this.#findings.push({ kind, node: this.#rules.node, sequence, message });
  }
}

function same(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}
