// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import type { RootRecord, RootStatement } from '../identity/root-statement.js';
import { heard, introduction, testFirst, testRoot, testSignature, word } from '../identity/testing/roots.js';
import { firstRoot, renewalOf, signingRoot, type TrustedRoot, trustedRoots } from '../identity/trust.js';
import { type CaView, dueSteps, type HeldRoots, type Leaf, waitingFor } from './root-rotation.js';

const DAY = 86_400_000;
const NOW = 11 * DAY;
const a = testFirst('a', 0);
const b: TrustedRoot = { ...testRoot('b', 10 * DAY), signsFromMs: undefined, retiredAtMs: undefined };
const signsNow: TrustedRoot = { ...b, signsFromMs: 10 * DAY };
const never: TrustedRoot = { ...b, pem: 'o', certificate: testRoot('o', 9 * DAY).certificate };
const has = (trusted: string[], keys: string[] = []): HeldRoots => ({ trusted, keys });

function leaf(name: string, issuer: string, notAfterMs = 40 * DAY, kind: Leaf['kind'] = 'member'): Leaf {
  return { name, kind, certificate: { issuerKeyId: `key-${issuer}`, notBeforeMs: 0, notAfterMs, serial: '1' } };
}

describe('what a node does next', () => {
  const view = (changed: Partial<CaView>): CaView => ({
    nowMs: NOW,
    roots: [a, b],
    plans: new Map([['b', { plannedMs: 12 * DAY, hastened: false }]]),
    keys: new Set(['a', 'b']),
    there: ['n2', 'n3'],
    said: new Map(),
    leaves: [leaf('n2', 'a')],
    settleMs: 0,
    ...changed,
  });
  const all = new Map([
    ['n2', has(['a', 'b'], ['a', 'b'])],
    ['n3', has(['a', 'b'])],
  ]);
  const hastened = new Map([['b', { plannedMs: 12 * DAY, hastened: true }]]);
  test.each<[string, Partial<CaView>, string[]]>([
    ['nothing with one root', { roots: [a], plans: new Map(), keys: new Set(['a']) }, []],
    ['nothing before its time, though all trust it: operators elsewhere may not', { said: all }, []],
    ['lets it sign when its time has come, whoever lacks it', { nowMs: 12 * DAY }, ['begin b']],
    ['lets it sign when all that are there have it, and that is wanted', { said: all, plans: hastened }, ['begin b']],
    ['waits for who has not said', { said: new Map([...all].slice(1)), plans: hastened }, []],
    ['waits for who lacks its key', { said: new Map([...all, ['n2', has(['a', 'b'], ['a'])]]), plans: hastened }, []],
    ['lets nothing sign without its key', { nowMs: 12 * DAY, keys: new Set(['a']) }, ['fetch b']],
    ['asks for no key as a member', { nowMs: 12 * DAY, keys: new Set() }, []],
    ['gets the key of one that signs, too', { roots: [a, signsNow], keys: new Set(['a']) }, ['fetch b']],
    ['keeps what certificates in use need', { roots: [a, signsNow] }, []],
    ['retires what nothing needs', { roots: [a, signsNow], leaves: [leaf('n2', 'b')] }, ['retire a']],
    ['nor what has expired', { roots: [a, signsNow], leaves: [leaf('n2', 'a', 10 * DAY)] }, ['retire a']],
    ['keeps it for operators', { roots: [a, signsNow], leaves: [leaf('x', 'a', 40 * DAY, 'client')] }, []],
    ['keeps it for a while after', { roots: [a, signsNow], leaves: [], settleMs: 2 * DAY }, []],
    [
      'retires nothing without the key that says so',
      { roots: [a, signsNow], leaves: [], keys: new Set(['a']) },
      ['fetch b'],
    ],
    [
      'retires also one that was made at the same time and never signed, when all have renewed',
      { roots: [a, never, signsNow], leaves: [leaf('n2', 'b')] },
      ['retire a', 'retire o'],
    ],
    [
      'retires none while somebody may be renewing by it',
      { roots: [a, never, signsNow], leaves: [leaf('n2', 'a'), leaf('n3', 'b')] },
      [],
    ],
  ])('%s', (_what, changed, steps) => {
    expect(dueSteps(view(changed)).map(({ kind, root }) => `${kind} ${root}`)).toEqual(steps);
  });

  it('names those for whom it waits', () => {
    expect(waitingFor(view({}))).toEqual(['n2', 'n3']);
    expect(waitingFor(view({ said: all }))).toEqual([]);
    expect(waitingFor(view({ said: new Map([['n3', has(['a', 'b'])]]) }))).toEqual(['n2']);
    expect(waitingFor(view({ roots: [a, signsNow] }))).toEqual([]);
  });
});

interface Node {
  roots: readonly TrustedRoot[];
  records: Map<string, RootRecord>;
  keys: Set<string>;
  /** Which root has signed what it shows. */
  issuer: string;
  /** What each last heard of each other. */
  said: Map<string, HeldRoots & { issuer: string }>;
}

/** Nodes that tell each other what was said of roots in any order, late, and more than once; all of them are there. */
class World {
  readonly nodes: Node[];
  readonly #signers: number;
  nowMs = DAY;

  constructor(size: number, signers: number) {
    this.#signers = signers;
    this.nodes = Array.from({ length: size }, (_, at) => ({
      roots: [a],
      records: new Map([['a', introduction('a', 0, [])]]),
      keys: new Set(at < signers ? ['a'] : []),
      issuer: 'a',
      said: new Map(),
    }));
  }

  begin(at: number): void {
    const node = this.#node(at % this.#signers);
    const trusted = new Set(trustedRoots(node.roots, this.nowMs).map(({ pem }) => pem));
    const endorsers = [...node.keys].filter((key) => trusted.has(key));
    const signing = signingRoot(node.roots, this.nowMs)?.pem ?? '';
    if (trusted.size > 4 || !node.keys.has(signing)) return;
    const name = `r${this.nowMs}-${at % this.#signers}`;
    const record = introduction(name, this.nowMs, endorsers, this.nowMs + DAY);
    node.keys.add(name);
    node.records.set(name, { ...record, hastened: true });
    this.hearOwn(at % this.#signers);
  }

  /** Registers are later-writer-wins: of a word the one that is there stays, or comes. */
  tellRoots(from: number, to: number): void {
    const [one, other] = [this.#node(from), this.#node(to)];
    for (const [name, record] of one.records) {
      const there = other.records.get(name);
      const { signing = there?.signing, retirement = there?.retirement } = record;
      other.records.set(name, { ...record, signing, retirement });
    }
    this.hearOwn(to);
  }

  tellHeld(from: number, to: number): void {
    const { roots, keys, issuer } = this.#node(from);
    const trusted = trustedRoots(roots, this.nowMs).map(({ pem }) => pem);
    const held = { trusted, keys: trusted.filter((id) => keys.has(id)), issuer };
    this.#node(to).said.set(String(from), held);
  }

  hear(at: number): void {
    for (let from = 0; from < this.nodes.length; from++) {
      if (from === at) continue;
      this.tellRoots(from, at);
      this.tellHeld(from, at);
    }
  }

  hearOwn(at: number): void {
    const node = this.#node(at);
    node.roots = heard(node.roots, [...node.records.values()], this.nowMs);
  }

  step(at: number): void {
    const node = this.#node(at);
    const issuers = this.nodes.map((_, id) => [
      String(id),
      id === at ? node.issuer : (node.said.get(String(id))?.issuer ?? 'a'),
    ]);
    const view: CaView = {
      nowMs: this.nowMs,
      roots: node.roots,
      plans: node.records,
      keys: node.keys,
      there: this.nodes.flatMap((_, id) => (id === at ? [] : [String(id)])),
      said: node.said,
      leaves: issuers.map(([name = '', issuer = '']) => leaf(name, issuer, Number.POSITIVE_INFINITY)),
      settleMs: 0,
    };
    for (const { kind, root } of dueSteps(view)) {
      const record = node.records.get(root);
      const signing = signingRoot(node.roots, this.nowMs)?.pem ?? '';
      if (kind === 'fetch' && this.nodes.some(({ keys }) => keys.has(root))) node.keys.add(root);
      if (record === undefined) continue;
      if (kind === 'begin') node.records.set(root, { ...record, signing: word('sign', root, root, this.nowMs) });
      if (kind === 'retire')
        node.records.set(root, { ...record, retirement: word('retire', root, signing, this.nowMs) });
    }
    this.hearOwn(at);
  }

  /** By any that signs and has heard of the newest root. */
  renew(at: number): void {
    const node = this.#node(at);
    const wanted = signingRoot(node.roots, this.nowMs);
    if (wanted === undefined || wanted.pem === node.issuer) return;
    const shown = leaf('', node.issuer).certificate;
    const due = renewalOf({ ...testRoot('', 0).certificate, ...shown, serial: '0' }, node.roots, this.nowMs);
    expect(due.why).toBe('rotation');
    const signs = ({ roots, keys }: Node): boolean =>
      keys.has(wanted.pem) && signingRoot(roots, this.nowMs)?.pem === wanted.pem;
    if (this.nodes.some(signs)) node.issuer = wanted.pem;
  }

  /** Pairs of which one refuses what the other shows. */
  refused(): string[] {
    return this.nodes.flatMap(({ roots }, at) => {
      const trusted = trustedRoots(roots, this.nowMs).map(({ pem }) => pem);
      return this.nodes.flatMap(({ issuer }, other) =>
        trusted.includes(issuer) ? [] : [`${at} refuses ${issuer} of ${other}`],
      );
    });
  }

  #node(at: number): Node {
    return this.nodes[at] as Node;
  }
}

const [SIZE, SIGNERS] = [4, 2];
const at = fc.nat(SIZE - 1);
const kinds = ['step', 'held', 'roots', 'all', 'renew', 'begin'] as const;
const weights = { step: 6, held: 6, roots: 5, all: 6, renew: 4, begin: 1 };
const happening = fc.oneof(
  ...kinds.map((kind) => ({
    weight: weights[kind],
    arbitrary: fc.record({ kind: fc.constant(kind), at, to: at }),
  })),
);

test('whatever is heard in whatever order, whoever is killed between two steps, and however many begin at once: nobody is ever refused, and all end with one root', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 120, size: 'max' }), (happenings) => {
      const world = new World(SIZE, SIGNERS);
      const does: Record<(typeof kinds)[number], (one: number, other: number) => void> = {
        step: (one) => world.step(one),
        held: (one, other) => void (one === other || world.tellHeld(one, other)),
        roots: (one, other) => world.tellRoots(one, other),
        all: (one) => world.hear(one),
        renew: (one) => world.renew(one),
        begin: (one) => world.begin(one),
      };
      let begun = false;
      for (const { kind, at: one, to } of happenings) {
        world.nowMs += 1_000;
        begun ||= kind === 'begin';
        does[kind](one, to);
        expect(world.refused()).toEqual([]);
      }
      for (let round = 0; round < 12; round++) {
        for (let one = 0; one < SIZE; one++) {
          world.nowMs += 1_000;
          world.hear(one);
          world.step(one);
          world.renew(one);
          expect(world.refused()).toEqual([]);
        }
      }
      const ends = new Set(
        world.nodes.map(({ roots, issuer }) => {
          return `${issuer} of ${trustedRoots(roots, world.nowMs).map(({ pem }) => pem)}`;
        }),
      );
      expect(ends.size).toBe(1);
      const [end = ''] = ends;
      expect(end).toMatch(begun ? /^(r\S+) of \1$/ : /^a of a$/);
    }),
    { numRuns: 200 },
  );
});

test('a root whose only holder is gone never signs, and the mesh goes on by the one before', () => {
  const statement: RootStatement = { kind: 'introduce', root: 'b', atMs: NOW };
  const record = { ...introduction('b', 10 * DAY, [], NOW), endorsements: [testSignature('a', statement)] };
  const roots = heard([firstRoot(testRoot('a', 0))], [record], 20 * DAY);
  expect(trustedRoots(roots, 20 * DAY).map(({ pem }) => pem)).toEqual(['a', 'b']);
  expect(signingRoot(roots, 20 * DAY)?.pem).toBe('a');
});
