// SPDX-License-Identifier: Apache-2.0
/** What the engine's probes have said of the backends that packets are sent to. */
import type { Service } from '@marcher/model';
import type { BackendState } from '@marcher/proto/marcher/engine/v1/control_pb';
import type { Dataplane } from '../ports/dataplane.js';

/**
 * Above this number of services their health is asked for at once, with that of all others, and less often: a node may
 * have 100,000 backends. Between that, events tell which services to ask for.
 */
const ASKED_ONE_BY_ONE_MAX = 32;
const ASK_ALL_MS = 5_000;

interface Verdict {
  readonly address: string;
  readonly unhealthy: boolean;
}

export class PacketVerdicts {
  readonly #dataplane: Dataplane;
  readonly #nowMs: () => number;
  /** Services whose health may be another now: they are new, or an event has told. */
  #changed = new Set<string>();
  #askedMs = Number.NEGATIVE_INFINITY;
  /** What the probes have said last, by service and backend: it holds while they do not know, or nobody can be asked. */
  #verdicts = new Map<string, Map<string, Verdict>>();

  constructor(dataplane: Dataplane, nowMs: () => number) {
    this.#dataplane = dataplane;
    this.#nowMs = nowMs;
  }

  /** The service's may be others now. */
  changed(service: string): void {
    this.#changed.add(service);
  }

  unhealthy(service: string, backend: string): boolean {
    return this.#verdicts.get(service)?.get(backend)?.unhealthy ?? false;
  }

  /** Of all of these, or of those that may have changed. */
  async ask(services: ReadonlyMap<string, { readonly service: Service }>): Promise<void> {
    const wanted = new Set<string>();
    for (const [name, { service }] of services) if (service.health !== undefined) wanted.add(name);
    for (const name of this.#verdicts.keys()) if (!wanted.has(name)) this.#verdicts.delete(name);
    if (wanted.size === 0) return;
    const many = wanted.size > ASKED_ONE_BY_ONE_MAX;
    const now = this.#nowMs();
    const all = !many || this.#changed.size > ASKED_ONE_BY_ONE_MAX || now - this.#askedMs >= ASK_ALL_MS;
    const asked = all && many ? [''] : all ? wanted : [...this.#changed].filter((name) => wanted.has(name));
    this.#changed = new Set();
    if (all) this.#askedMs = now;
    try {
      for (const service of asked) this.#note(await this.#dataplane.backends(service), wanted);
    } catch {
      // The engine does not answer, which the node's status says: what the probes saw last holds. Asked again at once.
      this.#askedMs = Number.NEGATIVE_INFINITY;
    }
  }

  #note(states: readonly BackendState[], wanted: ReadonlySet<string>): void {
    const fresh = new Map<string, Map<string, Verdict>>();
    for (const { service, backend, endpoints } of states) {
      const [endpoint] = endpoints;
      if (endpoint === undefined || !wanted.has(service)) continue;
      const { address, health } = endpoint;
      const earlier = this.#verdicts.get(service)?.get(backend);
      let verdict: Verdict | undefined = { address, unhealthy: health === 'unhealthy' };
      // An engine that has just started does not know yet: what the one before knew is better than nothing.
      if (health === 'unknown') verdict = earlier?.address === address ? earlier : undefined;
      if (verdict === undefined) continue;
      const known = fresh.get(service) ?? new Map<string, Verdict>();
      known.set(backend, verdict);
      fresh.set(service, known);
    }
    for (const [service, verdicts] of fresh) this.#verdicts.set(service, verdicts);
  }
}
