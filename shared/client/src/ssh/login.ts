// SPDX-License-Identifier: Apache-2.0
/**
 * Being let in, as OpenSSH tries it: nothing at all (which makes the server say what it takes), keys, then what the server
 * asks, then a password; as often as the server wants something more.
 */
import type { AnyAuthMethod, AuthenticationType, AuthHandlerMiddleware, Prompt } from 'ssh2';
import { type Identities, type Identity, OneIdentity } from './identities.js';
import type { Questions } from './questions.js';
import type { Hop } from './route.js';
import { plainText, sshError } from './ssh-error.js';

/** Of what a person types, each. */
const ATTEMPTS = 3;
/** RFC 4256 has no end of questions. */
const ROUNDS_MAX = 10;
const PROMPTS_MAX = 16;

export interface LoginParts {
  readonly hop: Hop;
  /** Throwing what they throw ends the connection. */
  readonly ask: Questions;
  readonly identities: () => Promise<Identities>;
  /** One that was good before. */
  readonly password: string | undefined;
  /** The connection is given up. */
  readonly fail: (error: Error) => void;
}

export class Login {
  /** The last that was shown: once the server has let somebody in, it is good. */
  password: string | undefined;
  private readonly parts: LoginParts;
  private readonly methods: AsyncGenerator<AnyAuthMethod, Error, Said>;

  constructor(parts: LoginParts) {
    this.parts = parts;
    this.methods = this.next();
  }

  /** For ssh2, which calls it whenever the server wants something else. */
  readonly handler: AuthHandlerMiddleware = (left, isPartial, done) => {
    // Before the first attempt both are null, whatever the types say.
    this.methods.next({ left: left ?? [], isPartial: isPartial === true }).then(
      ({ done: isOver, value }) => (isOver ? this.parts.fail(value) : done(value)),
      (error: Error) => this.parts.fail(error),
    );
  };

  private async *next(): AsyncGenerator<AnyAuthMethod, Error, Said> {
    const { hop, ask, identities } = this.parts;
    const username = hop.user;
    const tried: string[] = [];
    let { left }: { left: readonly string[] | undefined } = yield { type: 'none', username };
    const taken = left ?? [];
    let keys: Identity[] | undefined;
    let remarks: readonly string[] = [];
    let asked = 0;
    let typed = 0;
    const takes = (method: string): boolean => left === undefined || left.includes(method);
    for (;;) {
      if (left?.includes('publickey') && keys === undefined) {
        const found = await identities();
        keys = [...found.list];
        remarks = found.remarks;
      }
      const key = left?.includes('publickey') ? keys?.shift() : undefined;
      if (key !== undefined) {
        const agent = new OneIdentity(key);
        yield { type: 'agent', username, agent };
        tried.push(agent.remark ?? (agent.hasSigned ? `${key.label}, which was not enough` : key.label));
        // ssh2 says of agents neither what is left nor that it was a part: a signature that did not let in was one.
        if (agent.hasSigned) left = undefined;
      } else if (takes('keyboard-interactive') && ask.answers !== undefined && asked < ATTEMPTS) {
        asked++;
        const said: Said = yield { type: 'keyboard-interactive', username, prompt: this.prompting() };
        if (said.left.includes('keyboard-interactive') && !said.isPartial) tried.push('what it asked');
        if (said.isPartial) asked = 0;
        left = said.left;
      } else if (takes('password') && typed < ATTEMPTS && this.canGivePassword(typed)) {
        const password = await this.givenPassword(typed);
        typed++;
        if (password === undefined) return this.denied(taken, [...tried, 'no password was given'], remarks);
        this.password = password;
        const said: Said = yield { type: 'password', username, password };
        tried.push('a password');
        left = said.left;
      } else {
        return this.denied(taken, tried, remarks);
      }
    }
  }

  private canGivePassword(typed: number): boolean {
    return this.parts.ask.password !== undefined || (typed === 0 && this.parts.password !== undefined);
  }

  private async givenPassword(typed: number): Promise<string | undefined> {
    const { ask, hop, password } = this.parts;
    if (typed === 0 && password !== undefined) return password;
    return await ask.password?.({ user: hop.user, host: hop.name, again: typed > 0 });
  }

  private prompting() {
    let rounds = 0;
    return (
      title: string,
      instructions: string,
      _language: string,
      prompts: Prompt[],
      finish: (answers: string[]) => void,
    ): void => {
      const { hop, ask, fail } = this.parts;
      const { user, name: host } = hop;
      if (++rounds > ROUNDS_MAX || prompts.length > PROMPTS_MAX) {
        fail(
          sshError('denied', `${where(hop)} asks more than ${ROUNDS_MAX} times, or more than ${PROMPTS_MAX} things`),
        );
        return;
      }
      const questions = prompts.map(({ prompt, echo }) => ({ text: plainText(prompt), echo: echo === true }));
      ask.answers?.({ user, host, title: plainText(title), instructions: plainText(instructions), questions }).then(
        (answers) => {
          if (answers?.length === prompts.length) finish([...answers]);
          else fail(sshError('denied', `what ${where(hop)} asked was not answered`));
        },
        (error: Error) => fail(error),
      );
    };
  }

  private denied(taken: readonly string[], tried: readonly string[], remarks: readonly string[]): Error {
    const { hop } = this.parts;
    const what = tried.length === 0 ? 'there was nothing to try' : `tried: ${tried.join('; ')}`;
    const takes = taken.length === 0 ? '' : `; it takes ${taken.map((each) => plainText(each, 40)).join(', ')}`;
    const also = remarks.length === 0 ? '' : `; ${remarks.join('; ')}`;
    const fix = `does ssh -p ${hop.port} ${hop.user}@${hop.host} work?`;
    return sshError('denied', `${where(hop)} does not let ${hop.user} in: ${what}${takes}${also}; ${fix}`);
  }
}

/** What the server said of the attempt before. */
interface Said {
  readonly left: readonly AuthenticationType[];
  /** It was right, and something else is wanted as well. */
  readonly isPartial: boolean;
}

export function where({ name, host, port }: Pick<Hop, 'name' | 'host' | 'port'>): string {
  const address = hostPort(host, port);
  return name === host ? address : `${name} (${address})`;
}

function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
