// SPDX-License-Identifier: Apache-2.0
/**
 * A session as JSON lines, each with when it was (t, Unix time in milliseconds):
 *
 *   {"t":1,"marcher":"recording/v1","intervalMs":500}             the first
 *   {"t":1,"node":K,"name":N,"entry":true,"link":{…}}             how the node is known (Link)
 *   {"t":1,"node":K,"name":N,"member":{…}}                        as the entry sees it (Member)
 *   {"t":1,"node":K,"entry":true,"batch":{…}}                     what it said (ObserveResponse)
 *   {"t":1,"node":K,"first":true,"paceMs":500,"batch":{…}}        the same, and a stream has begun, with batches at that pace
 *   {"t":1,"node":K,"gone":true}                                  it is not shown any more
 *   {"t":1,"end":"stopped" or "full"}                             the last
 *
 * There is nothing in it that a viewer may not read; it is as confidential as the configuration is.
 */
import { fromJson, type JsonValue, toJson } from '@bufbuild/protobuf';
import { type Member, MemberSchema } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { type ObserveResponse, ObserveResponseSchema } from '@marcher/proto/marcher/v1/observe_service_pb';
import type { Link } from '../contract.js';

export const FORMAT = 'recording/v1';

/** A batch of an agent has about 1 MiB at most, which is some more as JSON. */
const LINE_MAX = 16 << 20;

export type RecordingLine =
  | { readonly kind: 'head'; readonly atMs: number; readonly intervalMs: number }
  | {
      readonly kind: 'link';
      readonly atMs: number;
      readonly node: string;
      readonly name: string;
      readonly isEntry: boolean;
      readonly link: Link;
    }
  | {
      readonly kind: 'member';
      readonly atMs: number;
      readonly node: string;
      readonly name: string;
      readonly member: Member | undefined;
    }
  | {
      readonly kind: 'batch';
      readonly atMs: number;
      readonly node: string;
      readonly isEntry: boolean;
      /** It is the first of a stream, whose batches come at that pace, ms. */
      readonly beginsAtMs: number | undefined;
      readonly batch: ObserveResponse;
    }
  | { readonly kind: 'gone'; readonly atMs: number; readonly node: string }
  | { readonly kind: 'end'; readonly atMs: number; readonly why: string };

/** What a recording says that can't be read: which line, and why. */
export class RecordingError extends Error {}

export function formatLine(line: RecordingLine): string {
  return JSON.stringify(plain(line));
}

function plain(line: RecordingLine): object {
  const t = line.atMs;
  switch (line.kind) {
    case 'head':
      return { t, marcher: FORMAT, intervalMs: line.intervalMs };
    case 'link': {
      const { node, name, isEntry, link } = line;
      // Never is no number in JSON.
      const retryAtMs = 'retryAtMs' in link && Number.isFinite(link.retryAtMs) ? link.retryAtMs : undefined;
      return { t, node, name, ...(isEntry && { entry: true }), link: { ...link, retryAtMs } };
    }
    case 'member': {
      const member = line.member === undefined ? undefined : toJson(MemberSchema, line.member);
      return { t, node: line.node, name: line.name, member: member ?? null };
    }
    case 'batch': {
      const { node, isEntry, beginsAtMs, batch } = line;
      return {
        t,
        node,
        ...(isEntry && { entry: true }),
        ...(beginsAtMs !== undefined && { first: true, paceMs: beginsAtMs }),
        batch: toJson(ObserveResponseSchema, batch),
      };
    }
    case 'gone':
      return { t, node: line.node, gone: true };
    case 'end':
      return { t, end: line.why };
  }
}

/** number: of the line, from 1. RecordingError. */
export function parseLine(text: string, number: number): RecordingLine {
  const wrong = (what: string): RecordingError =>
    new RecordingError(`line ${number} of the recording ${what}: expected what marcher has recorded`);
  if (text.length > LINE_MAX) throw wrong(`has ${text.length} characters`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong('is not JSON');
  }
  if (!isFields(value) || typeof value['t'] !== 'number' || !Number.isFinite(value['t'])) throw wrong('has no time');
  const atMs = value['t'];
  if (value['marcher'] !== undefined) {
    if (value['marcher'] !== FORMAT) throw wrong(`is of ${JSON.stringify(value['marcher'])}, not of ${FORMAT}`);
    return { kind: 'head', atMs, intervalMs: pace(value['intervalMs']) };
  }
  if (value['end'] !== undefined) return { kind: 'end', atMs, why: String(value['end']).slice(0, 100) };
  const { node } = value;
  if (typeof node !== 'string' || node.length > 512) throw wrong('names no node');
  const name = typeof value['name'] === 'string' ? value['name'].slice(0, 512) : '';
  const isEntry = value['entry'] === true;
  if (value['gone'] === true) return { kind: 'gone', atMs, node };
  if (value['link'] !== undefined) {
    const link = linkOf(value['link']);
    if (link === undefined) throw wrong('has no link that is known here');
    return { kind: 'link', atMs, node, name, isEntry, link };
  }
  try {
    const options = { ignoreUnknownFields: true };
    if (value['member'] === null) return { kind: 'member', atMs, node, name, member: undefined };
    if (value['member'] !== undefined) {
      const member = fromJson(MemberSchema, value['member'] as JsonValue, options);
      return { kind: 'member', atMs, node, name, member };
    }
    const batch = fromJson(ObserveResponseSchema, (value['batch'] ?? null) as JsonValue, options);
    return {
      kind: 'batch',
      atMs,
      node,
      isEntry,
      beginsAtMs: value['first'] === true ? pace(value['paceMs']) : undefined,
      batch,
    };
  } catch (error) {
    throw wrong(`can't be read (${error instanceof Error ? error.message.slice(0, 200) : 'unknown'})`);
  }
}

/** Recordings of before have none. */
function pace(value: unknown): number {
  return typeof value === 'number' ? Math.min(10_000, Math.max(100, value)) : 500;
}

function isFields(value: unknown): value is { readonly [field: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function linkOf(value: unknown): Link | undefined {
  if (!isFields(value)) return undefined;
  const { kind, sinceMs, reason, retryAtMs } = value;
  if (typeof sinceMs !== 'number') return undefined;
  if (kind === 'connecting' || kind === 'live') return { kind, sinceMs };
  if (kind !== 'stale' && kind !== 'refused') return undefined;
  const retry = typeof retryAtMs === 'number' ? retryAtMs : Number.POSITIVE_INFINITY;
  return { kind, sinceMs, reason: typeof reason === 'string' ? reason.slice(0, 500) : '', retryAtMs: retry };
}
