// SPDX-License-Identifier: Apache-2.0
import { create, type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  PackedApplyRequestSchema,
  PackedChangeSchema,
  PackedPlanRequestSchema,
} from '@marcher/proto/marcher/agent/v1/packed_change_pb';
import {
  ApplyRequestSchema,
  ChangeSchema,
  type PlanRequest,
  PlanRequestSchema,
} from '@marcher/proto/marcher/v1/config_service_pb';
import { ServiceSchema } from '@marcher/proto/marcher/v1/model_pb';
import { describe, expect, test } from 'vitest';

/** What decides about the wire format and the names in JavaScript, bodies of services aside. */
function layout({ fields }: DescMessage): string[] {
  return fields.map((field) => {
    const type = field.message === undefined || field.message === ServiceSchema ? 'bytes' : field.message.name;
    const scalar = field.scalar === undefined || field.fieldKind === 'list' ? '' : field.scalar;
    return `${field.number} ${field.localName} ${field.fieldKind} ${scalar} ${type.replace(/^Packed/, '')}`;
  });
}

describe('the messages by which the agent reads changes', () => {
  test.each([
    [ChangeSchema, PackedChangeSchema],
    [PlanRequestSchema, PackedPlanRequestSchema],
    [ApplyRequestSchema, PackedApplyRequestSchema],
  ])('have every field of what clients send: %s', (sent: DescMessage, read: DescMessage) => {
    expect(layout(read)).toEqual(layout(sent));
  });

  test('keep services as the bytes that they are', () => {
    const service = create(ServiceSchema, { name: 'web', backends: [{ address: '10.0.0.1:80' }] });
    const change = { upsert: [service, service], remove: ['api'], replaceAll: true };
    const bytes = toBinary(
      ApplyRequestSchema,
      create(ApplyRequestSchema, { change, expectedVersion: 7n, message: 'note', omitDiff: true }),
    );
    const packed = toBinary(ServiceSchema, service);
    const read = fromBinary(PackedApplyRequestSchema, bytes);
    expect(read).toMatchObject({ expectedVersion: 7n, message: 'note', omitDiff: true });
    expect(read.change).toMatchObject({ remove: ['api'], replaceAll: true });
    expect(read.change?.upsert.map((body) => [...body])).toEqual([[...packed], [...packed]]);
    const plan: PlanRequest = create(PlanRequestSchema, { change });
    expect(fromBinary(PackedPlanRequestSchema, toBinary(PlanRequestSchema, plan)).change).toEqual(read.change);
  });
});
