// SPDX-License-Identifier: Apache-2.0
/**
 * The agent that the gateway stands for, named as `marcher` names it: by -t, else MARCHER_TARGET, else what `marcher target use`
 * has chosen, else this machine's; with what it is shown, which files or the target's session say.
 */
import { readFileSync } from 'node:fs';
import {
  bookSession,
  type Credentials,
  DEFAULT_TARGET,
  knownRevocations,
  meshRoots,
  parseTarget,
  type SessionTokenSource,
  type Target,
} from '@marcher/client';
import { isTargetName, LOCAL_NAME, named } from '@marcher/client/address-book';
import { AddressBookFile } from '@marcher/client/address-book-file';
import { configurationDirectory, readPrivate } from '@marcher/client/private-file';
import { RevocationsFile } from '@marcher/client/revocations-file';

export interface CredentialFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly nodeId?: string | undefined;
}

export interface ChosenAgent {
  readonly target: Target;
  readonly credentials: Credentials;
  /** That the credentials show; undefined: there is none. */
  readonly session?: SessionTokenSource;
}

type Environment = Readonly<Record<string, string | undefined>>;

const FILE_MAX_BYTES = 65_536;

/** Fails as Error with a sentence. */
export function chooseAgent(given: string | undefined, files: CredentialFiles, environment: Environment): ChosenAgent {
  const asked = given ?? (environment['MARCHER_TARGET'] || undefined);
  if (asked !== undefined && asked !== LOCAL_NAME && !isTargetName(asked)) {
    return informed(byAddress(parseTarget(asked), files), environment);
  }
  const book = new AddressBookFile(configurationDirectory(environment));
  const known = asked === LOCAL_NAME ? undefined : book.read();
  const name = asked === LOCAL_NAME ? undefined : (asked ?? known?.current);
  if (known === undefined || name === undefined) return byAddress(parseTarget(DEFAULT_TARGET), files);
  const entry = named(known, name);
  const { certFile, keyFile, nodeId } = entry;
  const target = parseTarget(entry.url);
  const { credentials: shown } = byAddress(target, {
    ...(certFile === undefined ? {} : { certFile, keyFile }),
    ...(nodeId === undefined ? {} : { nodeId }),
    ...onlyGiven(files),
  });
  const ca = entry.ca === undefined || target.kind !== 'tls' ? {} : { ca: entry.ca };
  const { credentials } = informed({ target, credentials: { ...ca, ...shown } }, environment);
  const isOther = credentials.token !== undefined || credentials.certificate !== undefined;
  if (target.kind !== 'tls' || credentials.token !== undefined || (entry.session === undefined && isOther))
    return { target, credentials };
  // As `marcher` does: renewed while it is used, kept for the next, and begun by its login.
  const session = bookSession({
    ...{ name, target, credentials, session: entry.session },
    read: async () => book.read(),
    update: (change) => book.update(change),
  });
  return { target, credentials: { ...credentials, token: session }, session };
}

/** Of what marcher has heard: a node that was removed is refused, as far as that is known, by a renewal as by any other call. */
function informed({ target, credentials }: ChosenAgent, environment: Environment): ChosenAgent {
  if (target.kind !== 'tls') return { target, credentials };
  const store = new RevocationsFile(configurationDirectory(environment));
  return { target, credentials: { ...credentials, revocations: knownRevocations(store, meshRoots(credentials.ca)) } };
}

function onlyGiven(files: CredentialFiles): CredentialFiles {
  return Object.fromEntries(Object.entries(files).filter(([, value]) => value !== undefined));
}

function byAddress(target: Target, { caFile, certFile, keyFile, tokenFile, nodeId }: CredentialFiles): ChosenAgent {
  if (target.kind !== 'tls') {
    if ([caFile, certFile, keyFile, tokenFile, nodeId].every((each) => each === undefined))
      return { target, credentials: {} };
    throw new Error('credentials are for an agent on another machine: name it with --target https://HOST:PORT');
  }
  if ((certFile === undefined) !== (keyFile === undefined)) {
    throw new Error('a certificate and its key go together: give both --cert-file and --key-file');
  }
  const credentials: Credentials = {
    ...(nodeId === undefined ? {} : { nodeId }),
    ...(caFile === undefined ? {} : { ca: readFileSync(caFile, 'utf8') }),
    ...(certFile === undefined || keyFile === undefined
      ? {}
      : { certificate: readFileSync(certFile, 'utf8'), privateKey: secret(keyFile) }),
    ...(tokenFile === undefined ? {} : { token: secret(tokenFile).trim() }),
  };
  return { target, credentials };
}

function secret(file: string): string {
  try {
    const text = readPrivate(file, FILE_MAX_BYTES);
    if (text === undefined) throw new Error('there is no such file');
    return text;
  } catch (error) {
    throw new Error(`${file} is not used: ${(error as Error).message}`);
  }
}
