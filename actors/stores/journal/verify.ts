/**
 * Looks for what the disk did to the data: flipped bits, lost and misplaced records.
 *
 * At open, everything the journal is about to act on is verified: unsettled records and pending
 * timers. The rest is verified in slices, by `Scrubber`, as far as the time at open allows and
 * then in idle time, round and round. It reports and repairs nothing; `quarantine` sets aside.
 */

import type { Database } from "bun:sqlite";
import type { Environment } from "../../../runtime/environment.ts";
import type { TimelineEntry } from "../unit-of-work.ts";
import type { Damage } from "./journal-types.ts";
import type { LogTable } from "./log-table.ts";
import type { StoredRow } from "./row-tables.ts";
import type { SettleTable } from "./settle-table.ts";
import type { StoredDeadLetter } from "./dead-letter-table.ts";
import type { StoredTimer } from "./timer-table.ts";
import type { Topology } from "./log-parts.ts";

import { TABLES } from "../unit-of-work.ts";
import { DEAD_LETTER_COLUMNS, deadLetterChecksum } from "./dead-letter-table.ts";
import { DAMAGE_KEPT_MAX, SCRUB_SLICE_ROWS } from "./journal-limits.ts";
import { rowChecksum, rowColumns, timelineChecksum } from "./row-tables.ts";
import { TIMER_COLUMNS, timerChecksum } from "./timer-table.ts";

const BAD_CHECKSUM = "bad checksum";

/** Yields after every slice what it found in it; ends when everything has been seen. */
type Slices = Generator<Damage[], void>;

/** Damage among the records that some group has not settled. */
export function* verifyUnsettled(topology: Topology, log: LogTable, settle: SettleTable): Slices {
  for (let part = 0; part < topology.parts; part++) {
    const consumers = [...settle.consumersOf(topology.topicOf(part))];
    const partition = topology.partitionOf(part);
    const first = Math.max(settle.settledThrough(part) + 1, log.first(part));
    yield* sliced(first, log.last(part), (sequence) => {
      const isOpen = consumers.some((one) => !settle.isSettled(one, partition, sequence));
      return isOpen ? logDamage(topology, log, part, sequence) : undefined;
    });
  }
}

/** Damage among the pending timers. */
export function* verifyTimers(handle: Database): Slices {
  yield* paged(
    handle.prepare<StoredTimer, [string]>(
      `SELECT ${TIMER_COLUMNS} FROM timer WHERE id > ? ORDER BY id LIMIT ${SCRUB_SLICE_ROWS}`,
    ),
    [""],
    (timer) => [timer.id],
    (timer): Damage | undefined =>
      timer.crc === timerChecksum(timer)
        ? undefined
        : { what: "timer", key: timer.id, reason: BAD_CHECKSUM },
  );
}

/** Verifies everything, slice by slice, and then begins again. */
export class Scrubber {
  readonly #start: () => Slices;
  readonly #environment: Environment;
  #slices: Slices;
  #rounds = 0;

  constructor(handle: Database, environment: Environment, topology: Topology, log: LogTable) {
    this.#environment = environment;
    this.#start = () => verifyAll(handle, topology, log);
    this.#slices = this.#start();
  }

  /** Times everything has been seen. */
  get rounds(): number {
    return this.#rounds;
  }

  /** Goes on for about `budgetMs`, at most to the end of the round; at least one slice. */
  run(budgetMs: number): Damage[] {
    const untilMs = this.#environment.monotonicMs() + budgetMs;
    const damage: Damage[] = [];
    do {
      const slice = this.#slices.next();
      if (slice.done) {
        this.#rounds++;
        this.#slices = this.#start();
        break;
      }
      damage.push(...slice.value.slice(0, DAMAGE_KEPT_MAX - damage.length));
    } while (this.#environment.monotonicMs() < untilMs);
    return damage;
  }
}

function* verifyAll(handle: Database, topology: Topology, log: LogTable): Slices {
  for (let part = 0; part < topology.parts; part++) {
    yield* sliced(log.first(part), log.last(part), (sequence) =>
      logDamage(topology, log, part, sequence),
    );
  }
  yield* verifyTimers(handle);
  for (const table of TABLES) {
    yield* paged(
      handle.prepare<StoredRow, [string]>(
        `SELECT ${rowColumns(table)} FROM ${table} WHERE key > ? ORDER BY key
         LIMIT ${SCRUB_SLICE_ROWS}`,
      ),
      [""],
      (row) => [row.key],
      (row): Damage | undefined =>
        row.crc === rowChecksum(row)
          ? undefined
          : { what: "row", table, key: row.key, reason: BAD_CHECKSUM },
    );
  }
  yield* verifyTimeline(handle);
  yield* verifyDeadLetters(handle);
}

function* verifyTimeline(handle: Database): Slices {
  yield* paged(
    handle.prepare<TimelineEntry & { readonly crc: number }, [string, number]>(
      `SELECT order_id AS orderId, version, type, at AS atMs, crc, data FROM timeline
       WHERE (order_id, version) > (?, ?) ORDER BY order_id, version LIMIT ${SCRUB_SLICE_ROWS}`,
    ),
    ["", 0],
    (entry) => [entry.orderId, entry.version],
    (entry): Damage | undefined =>
      entry.crc === timelineChecksum(entry)
        ? undefined
        : {
            what: "timeline",
            key: entry.orderId,
            sequence: entry.version,
            reason: BAD_CHECKSUM,
          },
  );
}

function* verifyDeadLetters(handle: Database): Slices {
  yield* paged(
    handle.prepare<StoredDeadLetter, [number]>(
      `SELECT ${DEAD_LETTER_COLUMNS} FROM dead_letter WHERE id > ? ORDER BY id
       LIMIT ${SCRUB_SLICE_ROWS}`,
    ),
    [0],
    (row) => [row.id],
    (row): Damage | undefined =>
      row.crc === deadLetterChecksum(row)
        ? undefined
        : { what: "dead_letter", topic: row.topic, key: `${row.id}`, reason: BAD_CHECKSUM },
  );
}

function logDamage(
  topology: Topology,
  log: LogTable,
  part: number,
  sequence: number,
): Damage | undefined {
  const reason = log.find(part, sequence)?.damage;
  if (reason === undefined) return undefined;
  const topic = topology.topicOf(part);
  return { what: "log", topic, partition: topology.partitionOf(part), sequence, reason };
}

/** Looks at sequences `first` to `last`, a slice at a time. */
function* sliced(
  first: number,
  last: number,
  look: (sequence: number) => Damage | undefined,
): Slices {
  for (let from = first; from <= last; from += SCRUB_SLICE_ROWS) {
    const damage: Damage[] = [];
    for (let at = from; at <= last && at < from + SCRUB_SLICE_ROWS; at++) {
      const found = look(at);
      if (found !== undefined) damage.push(found);
    }
    yield damage;
  }
}

/** Looks at all rows of a query whose parameters are where to go on; no cursor stays open. */
function* paged<RowType, Place extends (string | number)[]>(
  page: { all(...after: Place): RowType[] },
  start: Place,
  placeOf: (row: RowType) => Place,
  look: (row: RowType) => Damage | undefined,
): Slices {
  let place = start;
  for (;;) {
    const rows = page.all(...place);
    const last = rows.at(-1);
    if (last === undefined) return;
    place = placeOf(last);
    yield rows.map(look).filter((found) => found !== undefined);
  }
}
