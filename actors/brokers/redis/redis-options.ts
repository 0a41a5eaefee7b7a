/**
 * Settings of everything that uses Redis, as plain data that can be sent to a thread.
 *
 * Where they come from and what each may be is said in `gateway/config/redis-settings.ts`; what
 * they say together is refused by `checkRedisSettings`.
 */

import { ShopError } from "../../../runtime/errors.ts";

export interface RedisSettings {
  /** `redis://user:password@host:port/database`, or `rediss://` for TLS. */
  readonly url: string;
  /** All keys begin with it. */
  readonly prefix: string;
  readonly connectTimeoutMs: number;
  /** A command without an answer is given up, and its connection, after so long. */
  readonly commandTimeoutMs: number;
  /** Bytes of frames that wait for their confirmation; above: `SATURATED`. */
  readonly publishBytesMax: number;
  /** A member that is not heard of for so long has lost its partitions. */
  readonly sessionMs: number;
  readonly heartbeatMs: number;
  /** How long a member may keep what it has in hand of a partition that goes to another. */
  readonly handOverMs: number;
  /** A member that let a lease run out takes no partitions for so long while others can. */
  readonly unwellMs: number;
  /** How long the server holds back an empty answer. */
  readonly blockMs: number;
  /** Frames of one partition in one answer. */
  readonly readFramesMax: number;
  /** How late the server may hear of acknowledgements that nobody waits for. */
  readonly ackDelayMs: number;
  /** Settled frames that are kept of each partition. */
  readonly retainFrames: number;
  /** Frames of a partition at which the oldest go, settled or not; 0: never. */
  readonly partitionFramesMax: number;
  readonly trimIntervalMs: number;
  /** Dead letters that are kept of each topic. */
  readonly deadLettersMax: number;
}

export const REDIS_SETTINGS: RedisSettings = {
  url: "redis://127.0.0.1:6379",
  prefix: "shopstream:",
  connectTimeoutMs: 5_000,
  commandTimeoutMs: 5_000,
  publishBytesMax: 64 * 1024 * 1024,
  sessionMs: 10_000,
  heartbeatMs: 1_000,
  handOverMs: 10_000,
  unwellMs: 30_000,
  blockMs: 5_000,
  readFramesMax: 256,
  ackDelayMs: 20,
  retainFrames: 10_000,
  partitionFramesMax: 0,
  trimIntervalMs: 10_000,
  deadLettersMax: 10_000,
};

/** Throws `BAD_CONFIGURATION` unless the settings fit each other. */
export function checkRedisSettings(settings: RedisSettings): void {
  const { url, sessionMs, heartbeatMs, partitionFramesMax, retainFrames } = settings;
  if (!URL.canParse(url) || !/^rediss?:$/.test(new URL(url).protocol)) {
    throw refused("redis.url", "is no redis://host:port or rediss://host:port");
  }
  if (heartbeatMs * 3 > sessionMs) {
    throw refused("redis.heartbeatMs", `must be at most a third of redis.sessionMs (${sessionMs})`);
  }
  if (partitionFramesMax !== 0 && partitionFramesMax <= retainFrames) {
    const why = `must be 0 or more than redis.retainFrames (${retainFrames})`;
    throw refused("redis.partitionFramesMax", why);
  }
}

function refused(name: string, why: string): ShopError {
  return new ShopError("BAD_CONFIGURATION", `${name} ${why}`, "never");
}
