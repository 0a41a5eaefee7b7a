/**
 * Dead letters in PostgreSQL: buried here by whatever broker gave them up, and shown from here.
 *
 * Burying is idempotent: the delivery that is buried is named, so that a burial whose answer was
 * lost is not a second letter. It is fenced as commits are: who gives up on a frame that is another
 * shard's by now is refused, and the frame is the other's to judge. Reads are bounded in letters
 * and bytes, as everywhere; every filter runs over one index in the order of ids. Letters are taken
 * out by units of work, not from here.
 */

import type { Sql } from "postgres";

import type {
  DeadLetterReads,
  KeptLetter,
  LetterFilter,
  LetterKind,
  LetterRange,
} from "../../dead-letters/letter-port.ts";
import type { DeadLetter } from "../../brokers/broker.ts";
import type { Postgres } from "./postgres-connection.ts";

import { assert, ShopError } from "../../../runtime/errors.ts";
import { FRAME_HEADER_BYTES } from "../../../runtime/frames/frame-header.ts";
import { checkFrame, frameId } from "../../../runtime/frames/frame.ts";
import { slotOf } from "../../../runtime/frames/murmur2.ts";
import {
  LETTER_IDS_MAX,
  LETTER_KINDS_MAX,
  LETTERS_PAGE_BYTES_MAX,
  LETTERS_PAGE_MAX,
} from "../../dead-letters/letter-port.ts";
import { ERROR_CHARS_MAX } from "../journal/journal-limits.ts";
import { run } from "./batch-state.ts";
import { readFailure } from "./postgres-failure.ts";

/** A letter that is not kept yet. */
export type NewLetter = Omit<DeadLetter, "id">;

export interface PostgresLetters extends DeadLetterReads {
  /**
   * Resolves once the letter is kept. `isPositionLasting`: partition and sequence name the same
   * delivery for ever (the broker's `sequencesLast`); else the message's id names it. Rejects with
   * `FENCED`, nothing kept, once the relay that buries is fenced.
   */
  bury(letter: NewLetter, isPositionLasting: boolean): Promise<"buried" | "repeat">;
  totals(): Promise<{ readonly kept: number }>;
}

/** Offset of the key's length in a frame's header; see `frame-header.ts`. */
const KEY_LENGTH_AT = 72;

const COLUMNS = `id, grp, topic, partition, sequence, reason, attempts,
  first_error AS "firstError", last_error AS "lastError", buried_at AS "buriedAt", bytes`;

/** Held until the letter is kept, as a commit holds it: to fence waits for both. */
const ALIVE = "SELECT 1 FROM relays WHERE id = $12::uuid AND NOT fenced FOR SHARE";
const INSERT = burialBy("SELECT 1");
const INSERT_FENCED = burialBy(ALIVE);

function burialBy(living: string): string {
  return `WITH living AS MATERIALIZED (${living}), added AS (
    INSERT INTO dead_letters
      (grp, topic, partition, sequence, identity, reason, attempts, first_error, last_error,
       buried_at, bytes)
    SELECT $1, $2, $3::int, $4::bigint, $5, $6, $7::int, $8, $9, $10::bigint, decode($11, 'hex')
    FROM living
    ON CONFLICT (grp, topic, identity) DO NOTHING RETURNING id
  )
  SELECT EXISTS (SELECT 1 FROM living) AS "isAlive", EXISTS (SELECT 1 FROM added) AS "isNew"`;
}

const SUMMARY = `SELECT topic, grp AS "group", reason, count(*)::int AS count,
    min(buried_at)::float8 AS "oldestBuriedAtMs", max(buried_at)::float8 AS "newestBuriedAtMs"
  FROM dead_letters GROUP BY topic, grp, reason
  ORDER BY count(*) DESC, topic, grp, reason LIMIT ${LETTER_KINDS_MAX}`;

interface StoredLetter {
  readonly id: string;
  readonly grp: string;
  readonly topic: string;
  readonly partition: number;
  readonly sequence: string;
  readonly reason: string;
  readonly attempts: number;
  readonly firstError: string;
  readonly lastError: string;
  readonly buriedAt: string;
  readonly bytes: Uint8Array;
}

interface LetterSize {
  readonly id: string;
  readonly frameBytes: number;
}

interface BurialRow {
  readonly isAlive: boolean;
  readonly isNew: boolean;
}

/** `slots`: where a key is looked for. `relayId`: who buries; absent: nobody fences it. */
export function createPostgresLetters(
  postgres: Postgres,
  slots: number,
  relayId?: string,
): PostgresLetters {
  async function ask<Found extends object>(
    text: string,
    parameters: string[] = [],
  ): Promise<readonly Found[]> {
    try {
      return await postgres.reading((sql: Sql) => run<Found>(sql, text, parameters));
    } catch (error) {
      throw readFailure(error);
    }
  }

  /** None when nothing can fit: the server knows no text with a NUL. */
  async function pick<Found extends object>(
    filter: LetterFilter,
    range: Omit<LetterRange, "limit">,
    query: (where: string, place: (value: string) => string) => string,
  ): Promise<readonly Found[]> {
    const { where, parameters, place } = conditions(filter, range, slots);
    const text = query(where, place);
    return parameters.some((value) => value.includes("\0")) ? [] : await ask(text, parameters);
  }

  return {
    async bury(letter, isPositionLasting) {
      const parameters = burialParameters(letter, isPositionLasting);
      const [row] =
        relayId === undefined
          ? await ask<BurialRow>(INSERT, parameters)
          : await ask<BurialRow>(INSERT_FENCED, [...parameters, relayId]);
      if (row?.isAlive !== true) {
        throw new ShopError("FENCED", `relay ${relayId} is fenced and buries nothing`, "never");
      }
      return row.isNew ? "buried" : "repeat";
    },
    async letter(id) {
      const text = `SELECT ${COLUMNS} FROM dead_letters WHERE id = $1::bigint`;
      const [row] = await ask<StoredLetter>(text, [`${id}`]);
      return row === undefined ? undefined : letterOf(row);
    },
    async page(filter, range) {
      checkLimit(range, LETTERS_PAGE_MAX);
      // One more than asked for tells whether there is another page; sizes tell where it ends.
      const sizes = await pick<LetterSize>(filter, range, (where, place) => {
        const limit = place(`${range.limit + 1}`);
        return `SELECT id, octet_length(bytes) AS "frameBytes" FROM dead_letters ${where}
          ORDER BY id LIMIT ${limit}::int`;
      });
      const ids = fittingIds(sizes, range.limit);
      const text = `SELECT ${COLUMNS} FROM dead_letters WHERE id = ANY($1::bigint[]) ORDER BY id`;
      const rows = await ask<StoredLetter>(text, [`{${ids.join(",")}}`]);
      return { letters: rows.map(letterOf), isLast: ids.length === sizes.length };
    },
    async ids(filter, range) {
      checkLimit(range, LETTER_IDS_MAX);
      const rows = await pick<{ id: string }>(filter, range, (where, place) => {
        const limit = place(`${range.limit}`);
        return `SELECT id FROM dead_letters ${where} ORDER BY id LIMIT ${limit}::int`;
      });
      return rows.map(({ id }) => Number(id));
    },
    async extent(filter) {
      const [found] = await pick<{ count: number; lastId: number }>(
        filter,
        { afterId: 0 },
        (where) => `SELECT count(*)::int AS count, coalesce(max(id), 0)::float8 AS "lastId"
          FROM dead_letters ${where}`,
      );
      return found ?? { count: 0, lastId: 0 };
    },
    summary: () => ask<LetterKind>(SUMMARY),
    async totals() {
      const [found] = await ask<{ kept: number }>("SELECT count(*)::int AS kept FROM dead_letters");
      return found ?? { kept: 0 };
    },
  };
}

function checkLimit({ limit }: LetterRange, max: number): void {
  assert(Number.isInteger(limit) && limit >= 1 && limit <= max, `${limit} letters of 1 to ${max}`);
}

/** The first letters that fit one page, at least one. */
function fittingIds(sizes: readonly LetterSize[], limit: number): readonly string[] {
  let bytes = 0;
  const ids: string[] = [];
  for (const { id, frameBytes } of sizes) {
    bytes += frameBytes;
    if (ids.length === limit || (ids.length > 0 && bytes > LETTERS_PAGE_BYTES_MAX)) break;
    ids.push(id);
  }
  return ids;
}

function conditions(
  filter: LetterFilter,
  { afterId, throughId }: Omit<LetterRange, "limit">,
  slots: number,
) {
  const { topic, group, reason, key, buriedFromMs, buriedBeforeMs } = filter;
  const parameters: string[] = [];
  const place = (value: string): string => `$${parameters.push(value)}`;
  const all = [`id > ${place(`${afterId}`)}::bigint`];
  if (throughId !== undefined) all.push(`id <= ${place(`${throughId}`)}::bigint`);
  if (topic !== undefined) all.push(`topic = ${place(topic)}`);
  if (group !== undefined) all.push(`grp = ${place(group)}`);
  if (reason !== undefined) all.push(`reason = ${place(reason)}`);
  if (buriedFromMs !== undefined) all.push(`buried_at >= ${place(`${buriedFromMs}`)}::bigint`);
  if (buriedBeforeMs !== undefined) all.push(`buried_at < ${place(`${buriedBeforeMs}`)}::bigint`);
  if (key !== undefined) {
    // The slot first: it is in the index, the key is not.
    const bytes = new TextEncoder().encode(key);
    const length = Uint8Array.of(bytes.length & 0xff, bytes.length >> 8);
    all.push(`partition = ${place(`${slotOf(key, slots)}`)}::int`);
    all.push(`substring(bytes FROM ${KEY_LENGTH_AT + 1} FOR 2)
      = decode(${place(length.toHex())}, 'hex')`);
    all.push(`substring(bytes FROM ${FRAME_HEADER_BYTES + 1} FOR ${bytes.length})
      = decode(${place(bytes.toHex())}, 'hex')`);
  }
  return { where: `WHERE ${all.join(" AND ")}`, parameters, place };
}

function burialParameters(letter: NewLetter, isPositionLasting: boolean): string[] {
  const { group, topic, partition, sequence, bytes, burial, buriedAtMs } = letter;
  const { reason, attempts, firstError, lastError } = burial;
  return [
    group,
    topic,
    `${partition}`,
    `${sequence}`,
    letterIdentity(letter, isPositionLasting),
    storable(reason),
    `${attempts}`,
    storable(firstError),
    storable(lastError),
    `${buriedAtMs}`,
    bytes.toHex(),
  ];
}

/** Names the delivery among those of its group and topic. */
export function letterIdentity(letter: NewLetter, isPositionLasting: boolean): string {
  const { partition, sequence, bytes } = letter;
  if (isPositionLasting) return `at ${partition}/${sequence}`;
  if (checkFrame(bytes) === undefined) return `message ${frameId(bytes)}`;
  return `bytes ${partition}/${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
}

/** Errors carry whatever a foreign library said. */
function storable(text: string): string {
  return text.slice(0, ERROR_CHARS_MAX).toWellFormed().replaceAll("\0", "\u{fffd}");
}

function letterOf(row: StoredLetter): KeptLetter {
  const { id, grp: group, topic, partition, sequence, bytes, buriedAt } = row;
  const { reason, attempts, firstError, lastError } = row;
  const burial = { reason, attempts, firstError, lastError };
  const place = { group, topic, partition, sequence: Number(sequence) };
  return { id: Number(id), ...place, bytes, burial, buriedAtMs: Number(buriedAt) };
}
