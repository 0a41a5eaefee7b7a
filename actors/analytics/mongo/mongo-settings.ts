/**
 * What the analytics store on MongoDB can be told: where it is, how it talks to it, how much at
 * once.
 *
 * Plain, cloneable values. Refuses, at import, a piece that no single document could describe.
 */

import { assert } from "../../../runtime/errors.ts";

export interface MongoSettings {
  /** `mongodb://` or `mongodb+srv://`; may hold a user and a password, which are never printed. */
  readonly url: string;
  /** Used when the address names none. */
  readonly database: string;
  /** Before every collection's name: several shops may share a database. */
  readonly prefix: string;
  readonly connectTimeoutMs: number;
  /** A call that has not been answered by then has failed; it may still have happened. */
  readonly operationTimeoutMs: number;
  readonly connectionsMax: number;
  /** Records that are stored, and made known to readers, together. */
  readonly pieceRecordsMax: number;
  /** Pieces stored by this process since the last roll-up, at which the next begins. */
  readonly rollUpPieces: number;
  /** Pieces that one roll-up takes. */
  readonly rollUpPiecesMax: number;
  /** How long a payment's segment, size and products wait for an order that comes after it. */
  readonly orderWaitMs: number;
  /** Customers, and orders that wait for their payment, remembered so as not to ask for them. */
  readonly cachedCustomersMax: number;
  readonly cachedOrdersMax: number;
}

export const MONGO_SETTINGS: MongoSettings = {
  url: "mongodb://127.0.0.1:27017/shopstream",
  database: "shopstream",
  prefix: "analytics_",
  connectTimeoutMs: 5_000,
  operationTimeoutMs: 20_000,
  connectionsMax: 10,
  pieceRecordsMax: 1_000,
  rollUpPieces: 32,
  rollUpPiecesMax: 256,
  orderWaitMs: 600_000,
  cachedCustomersMax: 50_000,
  cachedOrdersMax: 50_000,
};

assert(
  MONGO_SETTINGS.rollUpPieces <= MONGO_SETTINGS.rollUpPiecesMax,
  "a roll-up takes what began it",
);
