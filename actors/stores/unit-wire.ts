/**
 * A unit of work as nested arrays, by position: what crosses the ring to the journal.
 *
 * Positions instead of names make it several times cheaper to unpack, and the journal's thread is
 * the one that every step of every order passes through. Only `unitToWire` and `unitFromWire` know
 * the positions; nothing of it is stored.
 */

import type { DeliveryRef } from "../brokers/broker.ts";
import type { Table, UnitOfWork } from "./unit-of-work.ts";

type WireRow = readonly [
  table: Table,
  key: string,
  expectedVersion: number,
  data: Uint8Array,
  columns: readonly [customerId: string, status: string, createdAtMs: number] | null,
];
export type WireRef = readonly [
  group: string,
  topic: string,
  partition: number,
  sequence: number,
  epoch: number,
];
export type WireUnit = readonly [
  inbox: readonly (readonly [group: string, messageId: string])[],
  rows: readonly WireRow[],
  timeline: readonly (readonly [
    orderId: string,
    version: number,
    type: string,
    atMs: number,
    data: Uint8Array,
  ])[],
  outgoing: readonly (readonly [topic: string, frame: Uint8Array])[],
  timersStarted: readonly (readonly [
    id: string,
    dueAtMs: number,
    topic: string,
    frame: Uint8Array,
  ])[],
  timersCancelled: readonly string[],
  acks: readonly WireRef[],
  deadLettersRemoved: readonly number[],
];

export interface UnitAndAcks {
  readonly unit: UnitOfWork;
  readonly acks: readonly DeliveryRef[];
}

export function unitToWire(unit: UnitOfWork, acks: readonly DeliveryRef[]): WireUnit {
  return [
    unit.inbox.map(({ group, messageId }) => [group, messageId]),
    unit.rows.map(({ table, key, expectedVersion, data, columns }) => [
      table,
      key,
      expectedVersion,
      data,
      columns === undefined ? null : [columns.customerId, columns.status, columns.createdAtMs],
    ]),
    unit.timeline.map(({ orderId, version, type, atMs, data }) => [
      orderId,
      version,
      type,
      atMs,
      data,
    ]),
    unit.outgoing.map(({ topic, frame }) => [topic, frame]),
    unit.timersStarted.map(({ id, dueAtMs, outgoing }) => [
      id,
      dueAtMs,
      outgoing.topic,
      outgoing.frame,
    ]),
    unit.timersCancelled,
    acks.map(refToWire),
    unit.deadLettersRemoved,
  ];
}

export function refToWire(ref: DeliveryRef): WireRef {
  return [ref.group, ref.topic, ref.partition, ref.sequence, ref.epoch];
}

export function refFromWire([group, topic, partition, sequence, epoch]: WireRef): DeliveryRef {
  return { group, topic, partition, sequence, epoch };
}

export function unitFromWire(wire: WireUnit): UnitAndAcks {
  const [inbox, rows, timeline, outgoing, timersStarted, timersCancelled, acks, removed] = wire;
  return {
    unit: {
      inbox: inbox.map(([group, messageId]) => ({ group, messageId })),
      rows: rows.map(([table, key, expectedVersion, data, columns]) => ({
        table,
        key,
        expectedVersion,
        data,
        ...(columns === null
          ? {}
          : {
              columns: { customerId: columns[0], status: columns[1], createdAtMs: columns[2] },
            }),
      })),
      timeline: timeline.map(([orderId, version, type, atMs, data]) => ({
        orderId,
        version,
        type,
        atMs,
        data,
      })),
      outgoing: outgoing.map(([topic, frame]) => ({ topic, frame })),
      timersStarted: timersStarted.map(([id, dueAtMs, topic, frame]) => ({
        id,
        dueAtMs,
        outgoing: { topic, frame },
      })),
      timersCancelled,
      deadLettersRemoved: removed,
    },
    acks: acks.map(refFromWire),
  };
}
