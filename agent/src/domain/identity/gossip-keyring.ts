// SPDX-License-Identifier: Apache-2.0
/**
 * Keys by which gossip is sealed, as data. Every key opens what comes in, the primary one seals what goes out. Rotation
 * is install everywhere, use everywhere, remove everywhere: each step only when all nodes have done the one before, or
 * some could not read others (the order of HashiCorp memberlist's keyring.go).
 */
export interface GossipKey {
  /** For people and messages, as the key itself is shown nowhere: the first 8 bytes of its SHA-256, in hex. */
  readonly id: string;
  readonly key: Uint8Array;
}

export interface GossipKeyring {
  /** The id of the key that seals. */
  readonly primary: string;
  readonly keys: readonly GossipKey[];
}

export type KeyringVerdict =
  | { readonly kind: 'keyring'; readonly keyring: GossipKeyring }
  | { readonly kind: 'refused'; readonly reason: string };

/** AES-256-GCM. */
export const GOSSIP_KEY_BYTES = 32;
/** Each is tried in turn on a datagram that none opens. */
export const GOSSIP_KEYS_MAX = 8;

export function firstKeyring(key: GossipKey): GossipKeyring {
  return { primary: key.id, keys: [key] };
}

/** Installing one that is there changes nothing. */
export function installKey(keyring: GossipKeyring, key: GossipKey): KeyringVerdict {
  if (key.key.length !== GOSSIP_KEY_BYTES) {
    return refused(`a gossip key is ${GOSSIP_KEY_BYTES} bytes, and not ${key.key.length}`);
  }
  if (keyring.keys.some(({ id }) => id === key.id)) return { kind: 'keyring', keyring };
  if (keyring.keys.length >= GOSSIP_KEYS_MAX) {
    return refused(`${keyring.keys.length} gossip keys are installed, which is the most: remove one first`);
  }
  return { kind: 'keyring', keyring: { ...keyring, keys: [...keyring.keys, key] } };
}

export function useKey(keyring: GossipKeyring, id: string): KeyringVerdict {
  if (!keyring.keys.some((key) => key.id === id))
    return refused(`gossip key ${shown(id)} is not installed: install it first`);
  return { kind: 'keyring', keyring: { ...keyring, primary: id } };
}

/** Removing one that is not there changes nothing. */
export function removeKey(keyring: GossipKeyring, id: string): KeyringVerdict {
  if (id === keyring.primary) return refused(`gossip key ${shown(id)} seals what is sent: use another one first`);
  return { kind: 'keyring', keyring: { ...keyring, keys: keyring.keys.filter((key) => key.id !== id) } };
}

/** The primary first, as the SWIM library takes them. */
export function orderedKeys({ primary, keys }: GossipKeyring): readonly Uint8Array[] {
  const first = keys.filter(({ id }) => id === primary);
  return [...first, ...keys.filter(({ id }) => id !== primary)].map(({ key }) => key);
}

/** undefined: it can be used. For what comes from a file or from another node. */
export function keyringFault({ primary, keys }: GossipKeyring): string | undefined {
  if (keys.length === 0 || keys.length > GOSSIP_KEYS_MAX)
    return `it has ${keys.length} keys: expected 1 to ${GOSSIP_KEYS_MAX}`;
  if (keys.some(({ key }) => key.length !== GOSSIP_KEY_BYTES)) return `a key is not ${GOSSIP_KEY_BYTES} bytes long`;
  if (new Set(keys.map(({ id }) => id)).size !== keys.length) return 'two keys have one id';
  return keys.some(({ id }) => id === primary) ? undefined : 'its primary key is not among its keys';
}

function shown(id: string): string {
  return JSON.stringify(id.slice(0, 32));
}

function refused(reason: string): KeyringVerdict {
  return { kind: 'refused', reason };
}
