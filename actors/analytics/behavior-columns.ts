/**
 * Behaviour as columns: made from single events, checked, and counted without unpacking.
 *
 * A batch has one column of times and three of places in dictionaries. Refused, as `BAD_MESSAGE`,
 * are columns that differ in length and places beyond their dictionary: what the contract's schema
 * cannot say. Counting touches every event once and every text once a batch.
 */

import type { EventOf } from "../contracts/messages.ts";

import { BEHAVIOR_EVENTS_MAX } from "../contracts/fields.ts";
import { assert, ShopError } from "../../runtime/errors.ts";

/** One thing that one visitor did. */
export interface BehaviorEvent {
  readonly event: string;
  readonly customerId: string;
  readonly productId?: string | undefined;
  readonly atMs: number;
}

/** The columns of a batch, without its name. */
export type BehaviorColumns = Omit<EventOf<"user.behavior">, "type" | "batchId">;

/** Texts in order of first appearance, and the place of each. */
class Dictionary {
  readonly texts: string[] = [];
  readonly #places = new Map<string, number>();

  place(text: string): number {
    const known = this.#places.get(text);
    if (known !== undefined) return known;
    this.#places.set(text, this.texts.length);
    return this.texts.push(text) - 1;
  }
}

/** `events`: 1 to `BEHAVIOR_EVENTS_MAX` of them. */
export function behaviorColumns(events: readonly BehaviorEvent[]): BehaviorColumns {
  assert(events.length >= 1 && events.length <= BEHAVIOR_EVENTS_MAX, `${events.length} events`);
  const names = new Dictionary();
  const customers = new Dictionary();
  const products = new Dictionary();
  const baseMs = events.reduce((least, { atMs }) => Math.min(least, atMs), Number.MAX_SAFE_INTEGER);
  return {
    baseMs,
    offsetMs: events.map(({ atMs }) => atMs - baseMs),
    event: events.map(({ event }) => names.place(event)),
    events: names.texts,
    customer: events.map(({ customerId }) => customers.place(customerId)),
    customers: customers.texts,
    product: events.map(({ productId }) =>
      productId === undefined ? 0 : products.place(productId) + 1,
    ),
    products: products.texts,
  };
}

/** Throws `BAD_MESSAGE` unless the columns, which fit their contract, fit each other. */
export function checkColumns(columns: BehaviorColumns): void {
  const { offsetMs, event, customer, product } = columns;
  const { length } = offsetMs;
  for (const [name, column] of Object.entries({ event, customer, product })) {
    if (column.length !== length) refuse(`${name} has ${column.length} entries, not ${length}`);
  }
  const eventEnd = columns.events.length;
  const customerEnd = columns.customers.length;
  const productEnd = columns.products.length + 1;
  for (let at = 0; at < length; at++) {
    // `!`: the columns have this length.
    if (event[at]! >= eventEnd) refuse(`event ${at} has no name`);
    if (customer[at]! >= customerEnd) refuse(`event ${at} has no customer`); // `!`: as above
    if (product[at]! >= productEnd) refuse(`event ${at} has no product`); // `!`: as above
  }
}

/** How often each text occurs among the events of one window. */
export interface BehaviorCounts<Kind extends string> {
  /** How they count, as `place` said. */
  readonly kind: Kind;
  readonly startMs: number;
  /** By place in `events`. */
  readonly byEvent: Uint32Array;
  /** By place in `customers`. */
  readonly byCustomer: Uint32Array;
  /** By place in `products`, plus one; 0: about none. */
  readonly byProduct: Uint32Array;
}

/** Where an event belongs: into which window, and whether it counts there as what it is. */
export interface Placing<Kind extends string> {
  readonly kind: Kind;
  readonly startMs: number;
  /** Event times from here on … */
  readonly fromMs: number;
  /** … to before here are placed the same. */
  readonly toMs: number;
}

/**
 * The counts of each window, of columns that have been checked. `place` is asked again only when a
 * time leaves the interval that the last answer was good for.
 */
export function countColumns<Kind extends string>(
  columns: BehaviorColumns,
  place: (atMs: number) => Placing<Kind>,
): readonly BehaviorCounts<Kind>[] {
  const { baseMs, offsetMs, event, customer, product } = columns;
  const windows = new Map<string, BehaviorCounts<Kind>>();
  let fromMs = 0;
  let toMs = 0;
  let counts: BehaviorCounts<Kind> | undefined;
  for (let at = 0; at < offsetMs.length; at++) {
    const atMs = baseMs + offsetMs[at]!; // `!`: below the length
    if (counts === undefined || atMs < fromMs || atMs >= toMs) {
      const placing = place(atMs);
      ({ fromMs, toMs } = placing);
      const key = `${placing.kind} ${placing.startMs}`;
      counts = windows.get(key) ?? {
        kind: placing.kind,
        startMs: placing.startMs,
        byEvent: new Uint32Array(columns.events.length),
        byCustomer: new Uint32Array(columns.customers.length),
        byProduct: new Uint32Array(columns.products.length + 1),
      };
      windows.set(key, counts);
    }
    counts.byEvent[event[at]!]!++; // `!`: the columns have been checked
    counts.byCustomer[customer[at]!]!++; // `!`: as above
    counts.byProduct[product[at]!]!++; // `!`: as above
  }
  return [...windows.values()];
}

function refuse(what: string): never {
  throw new ShopError("BAD_MESSAGE", `user.behavior does not fit: ${what}`, "never");
}
