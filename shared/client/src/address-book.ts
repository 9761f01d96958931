// SPDX-License-Identifier: Apache-2.0
/**
 * The agents that a person works with, by name: where each is, how it is known, and the session that was begun there. Pure:
 * where it is kept is address-book-file.ts's to say.
 */
import { parseTarget } from './target.js';

export interface NamedTarget {
  /** As parseTarget() takes it. */
  readonly url: string;
  /** PEM: who may have signed the agent's certificate. */
  readonly ca?: string;
  /** Absolute paths: what is renewed there counts here, too. */
  readonly certFile?: string;
  readonly keyFile?: string;
  /** 16 hex digits: the node that has to answer. */
  readonly nodeId?: string;
  readonly session?: StoredSession;
}

export interface StoredSession {
  readonly user: string;
  /** SECRET */
  readonly token: string;
  /** When the token was given, and until when it is good: Unix time, by the agent's clock. */
  readonly grantedMs: number;
  readonly expiresMs: number;
  /** From then on no other is given. */
  readonly endsMs: number;
}

export interface AddressBook {
  /** The name that counts where none is given. Absent: this machine's agent. */
  readonly current?: string;
  readonly targets: ReadonlyMap<string, NamedTarget>;
}

export const EMPTY_BOOK: AddressBook = { targets: new Map() };
/** The agent of this machine, in no book. */
export const LOCAL_NAME = 'local';
const TARGETS_MAX = 1_000;
const VERSION = 1;
/** Nothing that is a target by itself: those have a colon or a slash. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export class AddressBookError extends Error {
  /** taken: there is one of the name; missing: there is none; invalid: everything else. */
  readonly code: 'taken' | 'missing' | 'invalid';

  constructor(code: AddressBookError['code'], message: string) {
    super(message);
    this.name = 'AddressBookError';
    this.code = code;
  }
}

export function isTargetName(text: string): boolean {
  return NAME.test(text);
}

/** Fails as AddressBookError, as everything below. */
export function named(book: AddressBook, name: string): NamedTarget {
  const target = book.targets.get(name);
  if (target !== undefined) return target;
  const known = [...book.targets.keys()].slice(0, 20).join(', ');
  const fix = known === '' ? 'marcher target add makes one' : `there are: ${known}`;
  throw new AddressBookError('missing', `there is no target ${JSON.stringify(name.slice(0, 80))}; ${fix}`);
}

export function withTarget(book: AddressBook, name: string, target: NamedTarget): AddressBook {
  if (!isTargetName(name) || name === LOCAL_NAME) {
    const expected = 'expected 1 to 63 of letters, digits, ".", "_" and "-", the first a letter or a digit';
    const why = name === LOCAL_NAME ? "it is this machine's agent" : expected;
    throw new AddressBookError('invalid', `${JSON.stringify(name.slice(0, 80))} can't be the name of a target: ${why}`);
  }
  if (book.targets.has(name)) {
    throw new AddressBookError('taken', `there is a target ${name}: choose another name, or remove it first`);
  }
  if (book.targets.size >= TARGETS_MAX) {
    throw new AddressBookError('invalid', `there are ${TARGETS_MAX} targets, which is the most: remove one first`);
  }
  return { ...book, targets: new Map([...book.targets, [name, target]]) };
}

export function withoutTarget(book: AddressBook, name: string): AddressBook {
  named(book, name);
  const targets = new Map([...book.targets].filter(([each]) => each !== name));
  return book.current === undefined || book.current === name ? { targets } : { current: book.current, targets };
}

export function withCurrent(book: AddressBook, name: string): AddressBook {
  if (name === LOCAL_NAME) return { targets: book.targets };
  named(book, name);
  return { current: name, targets: book.targets };
}

/** session: undefined ends it. Of a target that is gone nothing is kept. */
export function withSession(book: AddressBook, name: string, session: StoredSession | undefined): AddressBook {
  const target = book.targets.get(name);
  if (target === undefined) return book;
  const { session: _before, ...rest } = target;
  const changed = session === undefined ? rest : { ...rest, session };
  return { ...book, targets: new Map([...book.targets, [name, changed]]) };
}

/**
 * One that was renewed in the place of the one before; where that is not there any more (a logout or another login came
 * in between, or another process was first), the book stays as it is.
 */
export function withRenewed(book: AddressBook, name: string, before: string, session: StoredSession): AddressBook {
  return book.targets.get(name)?.session?.token === before ? withSession(book, name, session) : book;
}

export function formatBook({ current, targets }: AddressBook): string {
  const value = {
    version: VERSION,
    ...(current === undefined ? {} : { current }),
    targets: Object.fromEntries(targets),
  };
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** Nothing of the text is in an error: there are tokens in it. */
export function parseBook(text: string): AddressBook {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid('it is not JSON');
  }
  const { version, current, targets } = fields(value, 'it');
  if (typeof version === 'number' && version > VERSION) throw invalid('a newer version of this program has written it');
  if (version !== VERSION) throw invalid(`"version" is not ${VERSION}`);
  const entries = Object.entries(fields(targets, '"targets"'));
  if (entries.length > TARGETS_MAX) throw invalid(`it has more than ${TARGETS_MAX} targets`);
  const known = new Map(entries.map(([name, target]) => [name, parsedTarget(name, target)]));
  if (current === undefined) return { targets: known };
  if (typeof current !== 'string' || !known.has(current)) throw invalid('"current" names no target');
  return { current, targets: known };
}

function parsedTarget(name: string, value: unknown): NamedTarget {
  if (!isTargetName(name) || name === LOCAL_NAME) throw invalid('a target has a name that none can have');
  const at = `target ${name}`;
  const { url, session, ...rest } = fields(value, at);
  if (typeof url !== 'string' || !parses(url)) throw invalid(`the "url" of ${at} is not one of an agent`);
  const texts: { ca?: string; certFile?: string; keyFile?: string; nodeId?: string } = {};
  for (const key of ['ca', 'certFile', 'keyFile', 'nodeId'] as const) {
    const text = rest[key];
    if (text === undefined) continue;
    if (typeof text !== 'string') throw invalid(`"${key}" of ${at} is no text`);
    texts[key] = text;
  }
  return { url, ...texts, ...(session === undefined ? {} : { session: parsedSession(at, session) }) };
}

function parsedSession(at: string, value: unknown): StoredSession {
  const { user, token, grantedMs, expiresMs, endsMs } = fields(value, `"session" of ${at}`);
  if (typeof user !== 'string' || typeof token !== 'string') throw invalid(`the session of ${at} has no user or token`);
  if (![grantedMs, expiresMs, endsMs].every(Number.isSafeInteger)) {
    throw invalid(`the session of ${at} has a time that is none`);
  }
  const times = { grantedMs, expiresMs, endsMs } as { grantedMs: number; expiresMs: number; endsMs: number };
  return { user, token, ...times };
}

function parses(url: string): boolean {
  try {
    parseTarget(url);
    return true;
  } catch {
    return false;
  }
}

function fields(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw invalid(`${what} is no object`);
}

function invalid(reason: string): AddressBookError {
  return new AddressBookError('invalid', reason);
}
