/**
 * What the fraud check keeps, on Redis: verdicts and profiles, each a value with its version.
 *
 * It is the store under `createFraudCheck`, for the rows of that check and no others: a commit
 * compares all versions and writes all values in one step. Rows are forgotten when they were not
 * written for as long as verdicts are kept. Without a server every question is answered with
 * `CHECK_UNAVAILABLE`, so that the order is held and asked about again.
 */

import type { RedisLink } from "../brokers/redis/redis-link.ts";
import type { CommitResult, Row, Store, UnitOfWork } from "../stores/unit-of-work.ts";

import { bytes, list, text, whole } from "../brokers/redis/redis-reply.ts";
import { redisScript } from "../brokers/redis/redis-scripts.ts";
import { assert, describeError, isShopError, ShopError } from "../../runtime/errors.ts";

export interface RedisFraudStoreOptions {
  readonly link: Pick<RedisLink, "call" | "run">;
  /** Of all keys. */
  readonly prefix: string;
  /** How long a row is kept after it was written. */
  readonly ageMs: number;
}

/**
 * KEYS: rows. ARGV: how long they are kept, then expected version and data of each. Answers 0, or
 * the place of the first row that has another version, and that version.
 */
const COMMIT_ROWS = redisScript(`
for at, key in ipairs(KEYS) do
  local version = string.match(redis.call('GETRANGE', key, 0, 20), '^(%d+):') or '0'
  if version ~= ARGV[at * 2] then return { at, version } end
end
for at, key in ipairs(KEYS) do
  local version = ARGV[at * 2] + 1
  redis.call('SET', key, string.format('%d', version) .. ':' .. ARGV[at * 2 + 1], 'PX', ARGV[1])
end
return { 0 }`);

const COLON = 58;

export function createRedisFraudStore(options: RedisFraudStoreOptions): Store {
  const { link, prefix, ageMs } = options;
  const keyOf = (key: string): string => `${prefix}fraud:${key}`;

  async function load(table: string, keys: readonly string[]) {
    assert(table === "fraud", `the fraud check's store has no table ${table}`);
    if (keys.length === 0) return [];
    const found = await link.call("MGET", ...keys.map(keyOf)).catch(unavailable);
    return list(found).map((value, at) => rowOf(keys[at] ?? "", value));
  }

  async function commit(unit: UnitOfWork): Promise<CommitResult> {
    const { rows } = unit;
    for (const { table } of rows) assert(table === "fraud", `no table ${table} here`);
    const keys = rows.map(({ key }) => keyOf(key));
    const parts = rows.flatMap(({ expectedVersion, data }) => [expectedVersion, data]);
    const [at, version] = list(
      await link.run(COMMIT_ROWS, keys, ageMs, ...parts).catch((error: unknown) => {
        if (isShopError(error, "INDETERMINATE")) throw error; // the rows will tell
        return unavailable(error);
      }),
    );
    const conflict = rows[whole(at) - 1];
    if (conflict === undefined) return { kind: "committed" };
    return { kind: "conflict", table: "fraud", key: conflict.key, version: whole(version) };
  }

  return { acknowledges: false, load, commit };
}

function rowOf(key: string, value: unknown): Row | undefined {
  if (value === null) return undefined;
  const stored = bytes(value);
  const at = stored.indexOf(COLON);
  const version = at < 0 ? NaN : Number(text(stored.subarray(0, at)));
  if (!Number.isSafeInteger(version)) {
    throw new ShopError("DATA_DAMAGED", `fraud row ${key} has no version`, "later");
  }
  return { key, version, data: stored.subarray(at + 1) };
}

function unavailable(error: unknown): never {
  const why = `fraud check: ${describeError(error)}`;
  throw new ShopError("CHECK_UNAVAILABLE", why, "later", { cause: error });
}
