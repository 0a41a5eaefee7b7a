/**
 * The settings of analytics on MongoDB: where the server is, and how it is talked to.
 *
 * The defaults are those of `actors/analytics/mongo/mongo-settings.ts`. Refuses a roll-up that
 * could not take the pieces that begin it, and calls that would outlive every patience.
 */

import { Type } from "@sinclair/typebox";

import { MONGO_SETTINGS } from "../../actors/analytics/mongo/mongo-settings.ts";
import { group, HOUR_MS, integer, MINUTE_MS, SECOND_MS, text } from "./setting-types.ts";

const initial = MONGO_SETTINGS;
const CACHED_MAX = 10_000_000;
const PIECES_MAX = 256;

/** `mongodb`: its values are the store's settings, as they are. */
export const MongodbGroup = group({
  url: text(initial.url, "address, as mongodb://user:password@host:27017/database"),
  database: text(initial.database, "used when the address names none"),
  prefix: Type.String({
    pattern: "^[a-z0-9_]{0,32}$",
    default: initial.prefix,
    description: "before the name of every collection",
  }),
  connectTimeoutMs: integer(
    100,
    9 * SECOND_MS,
    initial.connectTimeoutMs,
    "how long the server may take to be found",
  ),
  operationTimeoutMs: integer(
    SECOND_MS,
    10 * MINUTE_MS,
    initial.operationTimeoutMs,
    "a call not answered by then has failed",
  ),
  connectionsMax: integer(1, 1_000, initial.connectionsMax, "connections of one process"),
  pieceRecordsMax: integer(1, 10_000, initial.pieceRecordsMax, "events stored as one piece"),
  rollUpPieces: integer(
    1,
    PIECES_MAX,
    initial.rollUpPieces,
    "pieces stored until windows are rolled up",
  ),
  rollUpPiecesMax: integer(PIECES_MAX, 4_096, initial.rollUpPiecesMax, "pieces of one roll-up"),
  orderWaitMs: integer(
    SECOND_MS,
    24 * HOUR_MS,
    initial.orderWaitMs,
    "how long a payment waits for an order that comes after it",
  ),
  cachedCustomersMax: integer(
    1,
    CACHED_MAX,
    initial.cachedCustomersMax,
    "customers a process remembers",
  ),
  cachedOrdersMax: integer(
    1,
    CACHED_MAX,
    initial.cachedOrdersMax,
    "orders a process remembers for their payment",
  ),
});
