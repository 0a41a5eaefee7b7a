/**
 * The collections of analytics, and what is in them.
 *
 * Everything is inserted once, under an id that follows from what it is, and never changed; a
 * collection of a day is dropped as a whole. Refuses to guess whether the server has indexes that
 * expire: it asks for one and sees.
 */

import type { Binary, Collection, Db, Document, Long } from "mongodb";

import type { AnalyticsSettings } from "../analytics-tuning.ts";
import type { Granularity } from "../event-windows.ts";
import type { EventDocument, OrderFields } from "./event-document.ts";

import { SERIES } from "../analytics-metrics.ts";
import { DAY_MS, GRANULARITIES, HOUR_MS } from "../event-windows.ts";
import { duplicatesIn, isIndexConflict, isMissingFeature } from "./mongo-failure.ts";
import { seriesName } from "./series-cells.ts";

/** Which events of a piece a document in `fresh` counts; there is one for each event. */
export interface ClaimDocument {
  /** The piece, `/` and `number`. */
  readonly _id: string;
  readonly piece: string;
  readonly number: number;
  readonly ids: readonly string[];
  /** Of a claim about the order of a payment that came before it; `null`: it never came. */
  readonly order?: OrderFields | null;
}

/** What a claim adds to the windows, until a roll-up has it. Same id as the claim. */
export interface FreshDocument {
  readonly _id: string;
  readonly storedAt: Date;
  /** By series, packed. */
  readonly cells: Readonly<Record<string, Binary | Uint8Array>>;
  readonly visitors: readonly { readonly hour: Date; readonly registers: Binary | Uint8Array }[];
}

/** A claim whose cells are in the windows for good. */
export interface RolledDocument {
  readonly _id: string;
}

/** The n-th order of a customer, for as many as matter. */
export interface CustomerDocument {
  /** The customer, `#` and `number`. */
  readonly _id: string;
  readonly customerId: string;
  readonly number: number;
  readonly orderId: string;
}

export interface OrderDocument extends OrderFields {
  /** The order's id. */
  readonly _id: string;
  readonly at: Date;
}

/** A payment whose order is not known yet. Same id as the event. */
export interface WaitingDocument {
  readonly _id: string;
  readonly day: number;
  readonly at: Date;
}

/**
 * All that is known of one hour, in one series: of the documents with one `start`, the one with
 * the highest `number` has everything that the others had.
 */
export interface PileDocument {
  /** Milliseconds of `start`, `/` and `number`. */
  readonly _id: string;
  readonly start: Date;
  readonly number: number;
  /** Claims that came with this number, and those before it that may still be in `fresh`. */
  readonly added: readonly string[];
  readonly before: readonly string[];
  /** Of cells, in columns: the minute of the hour, or 0, and what is counted. */
  readonly at?: readonly number[];
  readonly currency?: readonly string[];
  readonly value?: readonly string[];
  readonly count?: readonly (Long | number)[];
  readonly sumMinor?: readonly (Long | number)[];
  /** Empty where there is no money. */
  readonly sketch?: readonly (Binary | Uint8Array)[];
  /** Of visitors. */
  readonly registers?: Binary | Uint8Array;
  /** Of the progress: when the newest record was stored. */
  readonly storedAt?: Date;
}

export const VISITORS = "visitors";
export const PROGRESS = "progress";

const DAILY = ["events", "claims", "rolled"] as const;
type Daily = (typeof DAILY)[number];

export interface MongoCollections {
  events(day: number): Collection<EventDocument>;
  claims(day: number): Collection<ClaimDocument>;
  rolled(day: number): Collection<RolledDocument>;
  readonly fresh: Collection<FreshDocument>;
  readonly customers: Collection<CustomerDocument>;
  readonly orders: Collection<OrderDocument>;
  readonly waiting: Collection<WaitingDocument>;
  /** Piles of one series; `name` as of `seriesName`, or one of the two above. */
  piles(granularity: Granularity, name: string): Collection<PileDocument>;
  /** Names of the collections of days before `day`. */
  daysBefore(day: number): Promise<readonly string[]>;
  drop(name: string): Promise<void>;
}

/** Each collection is of the database that is the present one when it is used. */
export function collectionsOf(handle: { readonly database: Db }, prefix: string): MongoCollections {
  const named = <T extends Document>(name: string) =>
    handle.database.collection<T>(`${prefix}${name}`);
  const daily = <T extends Document>(kind: Daily, day: number) =>
    named<T>(`${kind}_${dayText(day)}`);
  return {
    events: (day) => daily("events", day),
    claims: (day) => daily("claims", day),
    rolled: (day) => daily("rolled", day),
    get fresh() {
      return named<FreshDocument>("fresh");
    },
    get customers() {
      return named<CustomerDocument>("customers");
    },
    get orders() {
      return named<OrderDocument>("orders");
    },
    get waiting() {
      return named<WaitingDocument>("waiting");
    },
    piles: (granularity, name) => named(`${granularity}_${name}`),
    async daysBefore(day) {
      const found = await handle.database.listCollections({}, { nameOnly: true }).toArray();
      return found.map(({ name }) => name).filter((name) => isBefore(name, prefix, day));
    },
    async drop(name) {
      await handle.database.dropCollection(name);
    },
  };
}

function isBefore(name: string, prefix: string, day: number): boolean {
  const kind = DAILY.find((one) => name.startsWith(`${prefix}${one}_`));
  if (kind === undefined) return false;
  const text = name.slice(prefix.length + kind.length + 1);
  return /^\d{8}$/.test(text) && text < dayText(day);
}

/** As 20260131. */
function dayText(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10).replaceAll("-", "");
}

/** Places in `documents` of those that were there already; the others are there now, for good. */
export async function insertNew<T extends Document & { readonly _id: string }>(
  collection: Collection<T>,
  documents: readonly T[],
): Promise<ReadonlySet<number>> {
  if (documents.length === 0) return new Set();
  // The driver's type wants `_id` to be optional, for a type that is not known yet.
  const given = documents as readonly Parameters<typeof collection.insertMany>[0][number][];
  try {
    await collection.insertMany(given, { ordered: false });
    return new Set();
  } catch (error) {
    const duplicates = duplicatesIn(error);
    if (duplicates === undefined) throw error;
    return new Set(duplicates);
  }
}

/** Indexes of a day, before anything is in it. */
export async function indexDay(collections: MongoCollections, day: number): Promise<void> {
  await collections.events(day).createIndex({ piece: 1 });
  await collections.claims(day).createIndex({ piece: 1 });
}

/** What has no day: told whether the server lets documents expire by themselves. */
export async function indexAll(
  collections: MongoCollections,
  settings: AnalyticsSettings,
): Promise<{ readonly expires: boolean }> {
  await collections.customers.createIndex({ customerId: 1 });
  const expires = await expireAfter(collections.orders, "at", settings.openOrderAgeMs);
  const indexed = pileNames().map(async ({ granularity, name }) => {
    const piles = collections.piles(granularity, name);
    const done = expires && (await expireAfter(piles, "start", retentionOf(granularity, settings)));
    if (!done) await piles.createIndex({ start: 1 });
  });
  await Promise.all(indexed);
  if (!expires) await collections.orders.createIndex({ at: 1 });
  return { expires };
}

export function pileNames(): readonly { granularity: Granularity; name: string }[] {
  const series = SERIES.map(([metric, dimension]) => seriesName(metric, dimension));
  const cells = GRANULARITIES.flatMap((granularity) =>
    series.map((name) => ({ granularity, name })),
  );
  return [...cells, { granularity: "hour", name: VISITORS }];
}

/** A window is kept for as long as its end is not older than this. */
export function retentionOf(granularity: Granularity, settings: AnalyticsSettings): number {
  const { minuteRetentionMs, hourRetentionMs } = settings;
  return (granularity === "minute" ? minuteRetentionMs : hourRetentionMs) + HOUR_MS;
}

/** False: the server has no such indexes. */
async function expireAfter<T extends Document>(
  collection: Collection<T>,
  field: string,
  ageMs: number,
): Promise<boolean> {
  const expireAfterSeconds = Math.ceil(ageMs / 1_000);
  const create = () => collection.createIndex({ [field]: 1 }, { expireAfterSeconds });
  try {
    await create();
    return true;
  } catch (error) {
    if (isMissingFeature(error)) return false;
    if (!isIndexConflict(error)) throw error;
    // Another age than the last time.
    await collection.dropIndex(`${field}_1`);
    await create();
    return true;
  }
}
