// SPDX-License-Identifier: Apache-2.0
/**
 * An edit of objects: what they were when it began, and what they are to be. Planned at an agent, shown, applied to the version
 * that it was planned for, and undone.
 */
import { create, equals } from '@bufbuild/protobuf';
import { type Configuration, ConfigurationSchema, NOUN_OF, printConfiguration } from '@marcher/model';
import {
  type Change,
  ChangeSchema,
  type ObjectDiff,
  Operation,
  type Violation,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { type Object$, ObjectSchema, type Service, ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { AgentError } from '../agent-error.js';
import type { AgentCalls } from '../fleet/contract.js';
import { type CommandTarget, commandLine, withInput } from './command.js';
import type { Confirmation } from './confirmation.js';

/** undefined: it is not there. */
export type Edit =
  | {
      readonly kind: 'Service';
      readonly name: string;
      readonly before: Service | undefined;
      readonly after: Service | undefined;
    }
  | {
      readonly kind: 'Guard' | 'TrafficPolicy';
      readonly name: string;
      readonly before: Object$ | undefined;
      readonly after: Object$ | undefined;
    };

export interface EditPlan {
  /** That it was made from. */
  readonly version: bigint;
  readonly diffs: readonly ObjectDiff[];
  readonly counts: { readonly create: number; readonly update: number; readonly delete: number };
  /** All that is wrong with it. */
  readonly violations: readonly Violation[];
  /** "service web": what somebody else has changed since the edit began. To go on would take that back. */
  readonly moved: readonly string[];
  readonly isEmpty: boolean;
  /** It is valid, does something, and takes nothing back. */
  readonly canApply: boolean;
}

export interface WriteOptions {
  /** Why: kept in the history. */
  readonly message?: string;
  /** Answer when so many other nodes have the change on disk. */
  readonly minAcks?: number;
  readonly ackTimeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** What was done, so that it can be undone at the same agent. */
export interface Applied {
  readonly edits: readonly Edit[];
  /** Of that agent: before, and since then. */
  readonly fromVersion: bigint;
  readonly version: bigint;
  /** False: nothing differed. */
  readonly changed: boolean;
  readonly diffs: readonly ObjectDiff[];
  readonly acks: number;
}

/** What is read and what is planned may not be of the same version, if others write: so often it is tried again. */
const READS_MAX = 4;

export class EditDraft {
  readonly edits: readonly Edit[];
  readonly #calls: AgentCalls;

  /** RangeError: no edit, or two of the same object. */
  constructor(calls: AgentCalls, edits: readonly Edit[]) {
    const keys = new Set(edits.map(({ kind, name }) => `${kind}/${name}`));
    if (edits.length === 0 || keys.size !== edits.length)
      throw new RangeError('expected one edit or more, one of each object');
    for (const edit of edits) checkName(edit);
    this.#calls = calls;
    this.edits = edits;
  }

  /** "change service web", "delete 2 services" */
  get title(): string {
    const [only] = this.edits;
    const verb = this.edits.every(({ after }) => after === undefined)
      ? 'delete'
      : this.edits.every(({ before }) => before === undefined)
        ? 'create'
        : 'change';
    if (this.edits.length === 1 && only !== undefined) return `${verb} ${nounOf(only)}`;
    return `${verb} ${this.edits.length} objects`;
  }

  get confirmation(): Confirmation {
    const gone = this.edits.filter(({ after }) => after === undefined);
    const question = `${this.title.charAt(0).toUpperCase()}${this.title.slice(1)}?`;
    if (gone.length === 0) return { kind: 'plain', question };
    const text = gone.length === 1 ? (gone[0]?.name ?? '') : `delete ${gone.length}`;
    return { kind: 'typed', question, text };
  }

  change(): Change {
    const change = create(ChangeSchema);
    for (const edit of this.edits) {
      if (edit.kind === 'Service') {
        if (edit.after === undefined) change.remove.push(edit.name);
        else change.upsert.push(edit.after);
      } else if (edit.after === undefined) {
        change.removeObjects.push({ $typeName: 'marcher.v1.ObjectKey', kind: edit.kind, name: edit.name });
      } else {
        change.upsertObjects.push(edit.after);
      }
    }
    return change;
  }

  /** AgentError. */
  async plan(signal?: AbortSignal): Promise<EditPlan> {
    const call = signal === undefined ? {} : { signal };
    for (let read = 1; ; read++) {
      const moved: string[] = [];
      const versions = new Set<bigint>();
      for (const edit of this.edits) {
        const { version, isSame } = await this.#compare(edit, call);
        if (version !== undefined) versions.add(version);
        if (!isSame) moved.push(nounOf(edit));
      }
      const { version, diffs, violations } = await this.#calls.config.plan({ change: this.change() }, call);
      versions.add(version);
      if (versions.size > 1 && read < READS_MAX) continue;
      if (versions.size > 1) {
        throw new AgentError(
          'conflict',
          'the configuration changes faster than it can be read: try again',
          [],
          undefined,
        );
      }
      const isEmpty = diffs.length === 0 && violations.length === 0;
      const canApply = !isEmpty && violations.length === 0 && moved.length === 0;
      return { version, diffs, counts: countsOf(diffs), violations, moved, isEmpty, canApply };
    }
  }

  /** AgentError: 'conflict' when the version has moved since the plan; then nothing was changed. */
  async apply(plan: EditPlan, options: WriteOptions = {}): Promise<Applied> {
    if (plan.moved.length > 0) {
      const message = `${plan.moved.join(', ')}: changed by somebody else since the edit began; take the newest and edit that`;
      throw new AgentError('conflict', message, [], undefined);
    }
    const { message = '', minAcks = 0, ackTimeoutMs = 0, signal } = options;
    const response = await this.#calls.config.apply(
      { change: this.change(), expectedVersion: plan.version, message, minAcks, ackTimeoutMs },
      signal === undefined ? {} : { signal },
    );
    const { version, changed, diffs, acks } = response;
    return { edits: this.edits, fromVersion: plan.version, version, changed, diffs, acks };
  }

  /** The lines that do the same. Of more than one change in several, as the command line knows no such change. */
  asCommand(target: CommandTarget = {}, plan?: EditPlan, message = ''): string {
    const lines: ((expected: readonly string[]) => string)[] = [];
    const said = message === '' ? [] : ['-m', message];
    const configuration = this.#after();
    if (configuration !== undefined) {
      const text = printConfiguration(configuration);
      lines.push((expected) => withInput(commandLine(target, ['apply', '-f', '-', ...said, ...expected]), text));
    }
    for (const [kind, word] of [
      ['Service', 'services'],
      ['Guard', 'guards'],
      ['TrafficPolicy', 'policies'],
    ] as const) {
      const names = this.edits.filter((edit) => edit.kind === kind && edit.after === undefined).map(({ name }) => name);
      if (names.length > 0) {
        lines.push((expected) => commandLine(target, ['delete', word, ...names, ...said, ...expected]));
      }
    }
    // The first line makes a version of its own: the next ones can't name it.
    return lines
      .map((line, at) => line(plan === undefined || at > 0 ? [] : ['--expected-version', String(plan.version)]))
      .join('\n');
  }

  #after(): Configuration | undefined {
    const configuration = create(ConfigurationSchema);
    for (const edit of this.edits) {
      if (edit.after === undefined) continue;
      if (edit.kind === 'Service') configuration.services.push(edit.after);
      else if (edit.after.object.case === 'guard') configuration.guards.push(edit.after.object.value);
      else if (edit.after.object.case === 'trafficPolicy') configuration.trafficPolicies.push(edit.after.object.value);
    }
    const { services, guards, trafficPolicies } = configuration;
    return services.length + guards.length + trafficPolicies.length === 0 ? undefined : configuration;
  }

  /** Whether the agent has what was there when the edit began. version: undefined where it does not say one. */
  async #compare(
    edit: Edit,
    call: { readonly signal?: AbortSignal },
  ): Promise<{ readonly version: bigint | undefined; readonly isSame: boolean }> {
    if (edit.kind === 'Service') {
      const now = await this.#service(edit.name, call);
      const service = now?.service;
      const isSame =
        service === undefined || edit.before === undefined
          ? service === edit.before
          : equals(ServiceSchema, service, edit.before);
      return { version: now?.version, isSame };
    }
    const { resources, version } = await this.#calls.config.listObjects({ kind: edit.kind, name: edit.name }, call);
    const object = resources[0]?.object;
    const isSame =
      object === undefined || edit.before === undefined
        ? object === edit.before
        : equals(ObjectSchema, object, edit.before);
    return { version, isSame };
  }

  async #service(
    name: string,
    call: { readonly signal?: AbortSignal },
  ): Promise<{ readonly service: Service | undefined; readonly version: bigint } | undefined> {
    try {
      const { resource, version } = await this.#calls.config.get({ name }, call);
      return { service: resource?.service, version };
    } catch (error) {
      if (error instanceof AgentError && error.code === 'not_found') return undefined;
      throw error;
    }
  }
}

function countsOf(diffs: readonly ObjectDiff[]): EditPlan['counts'] {
  const count = (operation: Operation): number => diffs.filter((diff) => diff.operation === operation).length;
  return { create: count(Operation.CREATE), update: count(Operation.UPDATE), delete: count(Operation.DELETE) };
}

/** "service web", "traffic policy gold" */
export function nounOf({ kind, name }: Pick<Edit, 'kind' | 'name'>): string {
  return `${NOUN_OF[kind]} ${name}`;
}

/** An object that is renamed is another one: two edits. */
function checkName(edit: Edit): void {
  for (const side of [edit.before, edit.after]) {
    const name = side === undefined ? edit.name : 'object' in side ? side.object.value?.name : side.name;
    if (name !== edit.name) {
      throw new RangeError(
        `${nounOf(edit)} would be called ${name}: expected its own name; create another and delete this one`,
      );
    }
  }
}
