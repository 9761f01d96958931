// SPDX-License-Identifier: Apache-2.0
/**
 * Which agent a command talks to and what it shows there: --target, else MARCHER_TARGET, else what `marcher target use` has
 * chosen, else this machine's. Of a target by name, what an option says goes before what the target has, and that before
 * what variables name.
 */
import type { Credentials, SessionTokenSource, Target } from '@marcher/client';
import type { NamedTarget, StoredSession } from '@marcher/client/address-book';
import { type CredentialOptions, readCredentials, refuseCredentials } from './credentials.js';
import { ExitCode } from './exit-code.js';
import { Failure, usage } from './failure.js';

export interface ChosenTarget {
  readonly target: Target;
  /** Absent: it was given by its address. */
  readonly name?: string;
  readonly entry?: NamedTarget;
  /** Without the session's token. */
  readonly credentials: Credentials;
  /** Where no other token is shown. */
  readonly session?: StoredSession;
  /** Told of what shows the session's token, by whoever stays longer than it is good for. */
  readonly onSession?: (source: SessionTokenSource) => void;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Fails as Failure. */
export async function chooseTarget(
  options: CredentialOptions & { readonly target?: string },
  environment: Environment,
): Promise<ChosenTarget> {
  const { DEFAULT_TARGET, parseTarget } = await import('@marcher/client/target');
  const { isTargetName, LOCAL_NAME } = await import('@marcher/client/address-book');
  const given = options.target ?? (environment['MARCHER_TARGET'] || undefined);
  if (given !== undefined && given !== LOCAL_NAME && !isTargetName(given)) {
    return byAddress(
      usable(() => parseTarget(given)),
      options,
      environment,
    );
  }
  const book = given === LOCAL_NAME ? undefined : (await addressBook(environment)).read();
  const name = given ?? book?.current;
  if (book === undefined || name === undefined) return byAddress(parseTarget(DEFAULT_TARGET), options, environment);
  const entry = book.targets.get(name);
  if (entry === undefined) {
    const expected =
      'the name of one (marcher target list), unix:PATH or HOST:PORT on this machine, https://HOST:PORT, ssh://HOST';
    throw new Failure(ExitCode.notFound, `there is no target ${JSON.stringify(name)}: expected ${expected}`);
  }
  const { ca, certFile, keyFile, nodeId, session } = entry;
  const target = parseTarget(entry.url);
  if (target.kind !== 'tls') return { ...byAddress(target, options, environment), name, entry };
  const pair = options.certFile === undefined && options.keyFile === undefined && certFile !== undefined;
  const merged = {
    ...options,
    ...(pair ? { certFile, keyFile } : {}),
    ...(nodeId === undefined || options.nodeId !== undefined ? {} : { nodeId }),
  };
  // One that is over goes before nothing else, but says why there is nothing.
  const over = session !== undefined && session.expiresMs <= Date.now();
  const named = ['MARCHER_TOKEN_FILE', 'MARCHER_CERT_FILE'].some((variable) => (environment[variable] ?? '') !== '');
  const other = pair || options.certFile !== undefined || named;
  const showsSession = session !== undefined && options.tokenFile === undefined && !(over && other);
  const variables = {
    ...environment,
    ...(ca === undefined ? {} : { MARCHER_CA_FILE: undefined }),
    ...(pair ? { MARCHER_CERT_FILE: undefined, MARCHER_KEY_FILE: undefined } : {}),
    ...(showsSession ? { MARCHER_TOKEN_FILE: undefined } : {}),
  };
  const read = readCredentials(merged, variables, Date.now());
  const credentials = ca === undefined || options.caFile !== undefined ? read : { ...read, ca };
  return { target, name, entry, credentials, ...(showsSession ? { session } : {}) };
}

/** The one that a command about a target by name is for; what: such a command, for errors. */
export async function chooseNamed(
  options: CredentialOptions & { readonly target?: string },
  environment: Environment,
  what: string,
): Promise<ChosenTarget & { readonly name: string; readonly target: Target & { kind: 'tls' } }> {
  const chosen = await chooseTarget(options, environment);
  const { name, target } = chosen;
  if (name !== undefined && target.kind === 'tls') return { ...chosen, name, target };
  const fix = 'marcher target add NAME --url https://HOST:PORT makes one, and --target NAME says which';
  throw usage(`${what} is for an agent on another machine that has a name here: ${fix}`);
}

/** Read and changed by all commands of the user at once. */
export async function addressBook(environment: Environment) {
  const { AddressBookFile } = await import('@marcher/client/address-book-file');
  const { configurationDirectory } = await import('@marcher/client/private-file');
  return new AddressBookFile(configurationDirectory(environment));
}

function byAddress(target: Target, options: CredentialOptions, environment: Environment): ChosenTarget {
  if (target.kind !== 'tls') refuseCredentials(options);
  return { target, credentials: target.kind === 'tls' ? readCredentials(options, environment, Date.now()) : {} };
}

function usable(parse: () => Target): Target {
  try {
    return parse();
  } catch (error) {
    throw usage(`--target: ${(error as Error).message}, or the name of a target (marcher target list)`);
  }
}
