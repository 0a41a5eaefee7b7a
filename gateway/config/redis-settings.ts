/**
 * Settings of Redis: where it is, what is kept there and for how long, and how members of a group
 * find out about each other.
 *
 * Refuses what cannot be right by itself; what the settings say together is refused at start.
 */

import { Type } from "@sinclair/typebox";

import { REDIS_SETTINGS } from "../../actors/brokers/redis/redis-options.ts";
import { group, HOUR_MS, integer, KIB, GIB, MINUTE_MS, SECOND_MS } from "./setting-types.ts";

const initial = REDIS_SETTINGS;

export const RedisGroup = group({
  url: Type.String({
    minLength: 1,
    maxLength: 1024,
    pattern: "^rediss?://[^\\s]+$",
    default: initial.url,
    description: "redis://user:password@host:port/database; rediss:// for TLS",
  }),
  prefix: Type.String({
    minLength: 1,
    maxLength: 64,
    pattern: "^[\\x21-\\x7e]+$",
    default: initial.prefix,
    description: "all keys begin with it",
  }),
  connectTimeoutMs: integer(
    100,
    5 * SECOND_MS,
    initial.connectTimeoutMs,
    "wait for a connection; a start gives up after twice that",
  ),
  commandTimeoutMs: integer(
    100,
    MINUTE_MS,
    initial.commandTimeoutMs,
    "wait for an answer before the connection is made anew",
  ),
  publishBytesMax: integer(
    1024 * KIB,
    GIB,
    initial.publishBytesMax,
    "bytes of frames that wait for their confirmation",
  ),
  sessionMs: integer(
    SECOND_MS,
    5 * MINUTE_MS,
    initial.sessionMs,
    "a member not heard of for so long loses its partitions",
  ),
  heartbeatMs: integer(
    50,
    MINUTE_MS,
    initial.heartbeatMs,
    "between a member's signs of life; at most a third of sessionMs",
  ),
  handOverMs: integer(
    0,
    5 * MINUTE_MS,
    initial.handOverMs,
    "time to settle what is in hand of a partition that goes to another member",
  ),
  unwellMs: integer(
    0,
    HOUR_MS,
    initial.unwellMs,
    "a member that let a lease run out takes no partitions for so long while others can",
  ),
  blockMs: integer(100, MINUTE_MS, initial.blockMs, "the server holds back an empty answer"),
  readFramesMax: integer(1, 10_000, initial.readFramesMax, "frames of one partition in one answer"),
  ackDelayMs: integer(
    0,
    SECOND_MS,
    initial.ackDelayMs,
    "delay of acknowledgements that nobody waits for",
  ),
  retainFrames: integer(
    0,
    100_000_000,
    initial.retainFrames,
    "settled frames kept of each partition",
  ),
  partitionFramesMax: integer(
    0,
    1_000_000_000,
    initial.partitionFramesMax,
    "frames of a partition at which the oldest go, settled or not; 0: never",
  ),
  trimIntervalMs: integer(
    SECOND_MS,
    HOUR_MS,
    initial.trimIntervalMs,
    "between removals of settled frames",
  ),
  deadLettersMax: integer(1, 10_000_000, initial.deadLettersMax, "dead letters kept of each topic"),
});
