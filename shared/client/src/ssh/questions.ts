// SPDX-License-Identifier: Apache-2.0
/**
 * What only a person can say. Texts of servers come without control characters. undefined: nobody answered, and what it was
 * asked for is given up. What is thrown ends the connection, and reaches who asked for it.
 */
export interface Questions {
  /** Whether that is the server's key: somebody has to have compared the fingerprint. Absent: a server has to be known. */
  confirmHostKey?(server: UnknownServer): Promise<boolean>;
  /** Of a private key; again where it was wrong, up to three times. */
  passphrase?(key: { readonly path: string; readonly again: boolean }): Promise<string | undefined>;
  /** Again where it was wrong, up to three times. */
  password?(login: {
    readonly user: string;
    readonly host: string;
    readonly again: boolean;
  }): Promise<string | undefined>;
  /** What the server asks, such as a code: an answer for each. */
  answers?(asked: ServerQuestions): Promise<readonly string[] | undefined>;
}

export interface UnknownServer {
  /** As known_hosts files name it, and where it is. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly keyType: string;
  /** "SHA256:..." */
  readonly fingerprint: string;
  /** Where its key is written then. */
  readonly path: string;
}

export interface ServerQuestions {
  readonly user: string;
  readonly host: string;
  readonly title: string;
  readonly instructions: string;
  readonly questions: readonly { readonly text: string; readonly echo: boolean }[];
}
