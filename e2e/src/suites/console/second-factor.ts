// SPDX-License-Identifier: Apache-2.0
/** A user's authenticator, and a pile of recovery codes. */
import { createHmac } from 'node:crypto';
import net from 'node:net';
import { type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { AccessRole, AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import type { Agent } from '../../harness/agent.js';

const STEP_MS = 30_000;

/** RFC 6238, with what all authenticators have: SHA-1, 30 s, six digits. ahead: steps after the one of now. */
export function totpOf(base32: string, ahead: number): string {
  const bits = [...base32]
    .map((each) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(each).toString(2).padStart(5, '0'))
    .join('');
  const secret = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / STEP_MS) + ahead));
  const mac = createHmac('sha1', secret).update(counter).digest();
  const code = mac.readUInt32BE((mac.at(-1) as number) & 15) & 0x7fffffff;
  return String(code % 1_000_000).padStart(6, '0');
}

export interface Account {
  readonly name: string;
  readonly password: string;
  /** Of the authenticator; once, as the one of now was used to enrol it. */
  code(): string;
  /** Another one each time. */
  recoveryCode(): string;
}

export const accessOf = (agent: Agent): Client<typeof AccessService> =>
  createClient(
    AccessService,
    createGrpcTransport({
      baseUrl: 'http://localhost',
      nodeOptions: { createConnection: () => net.connect(agent.socket) },
    }),
  );

/** Made at a node's socket, with a second factor. */
export async function createAccount(agent: Agent, name: string, password: string): Promise<Account> {
  const access = accessOf(agent);
  await access.createUser({ name, role: AccessRole.ADMINISTRATOR, password });
  const { secret } = await access.enrolTotp({ name, password });
  const { recoveryCodes } = await access.confirmTotp({ name, code: totpOf(secret, 0) });
  return { name, password, code: () => totpOf(secret, 1), recoveryCode: () => recoveryCodes.pop() ?? '' };
}
