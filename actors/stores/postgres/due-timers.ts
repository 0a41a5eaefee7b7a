/**
 * Moves timers that are due into the outbox, each exactly once, whoever of many processes does it.
 *
 * A timer leaves its table and enters the outbox in one transaction; rows that another process has
 * in hand are skipped. It sleeps until the next timer it knows of is due, and looks once a second
 * for those that others started and did not live to fire. Timers that are due within one grain
 * share a look. Whether a timer is due is decided by the database's clock alone. A fenced shard
 * fires nothing, and after a bug in this process nothing is looked for any more.
 */

import type { Sql } from "postgres";
import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { Store } from "../unit-of-work.ts";
import type { OutboxFrame } from "./outbox-relay-table.ts";

import { describeError, InvariantError } from "../../../runtime/errors.ts";

/** Timers of one transaction. */
const BATCH_MAX = 1_000;
/** How often it looks when it knows of nothing. */
const IDLE_MS = 1_000;
/** A timer may be due earlier than was thought, by another clock. */
const WAIT_MIN_MS = 5;
/** From the begin of one look to the next, at least: where many are due, some fire together. */
const GRAIN_MS = 20;
const RETRY_MS = 500;

export interface TimerRows {
  /** Fires up to `limit` timers that are due; their frames as they are in the outbox. */
  fire(relayId: string, limit: number): Promise<readonly OutboxFrame[]>;
  /** How long until the earliest is due, at least 0; `undefined`: there is none. */
  nextInMs(): Promise<number | undefined>;
}

export function createTimerRows(sql: Sql): TimerRows {
  return {
    async fire(relayId, limit) {
      return await sql<OutboxFrame[]>`
        WITH alive AS MATERIALIZED (
          SELECT id FROM relays WHERE id = ${relayId}::uuid AND NOT fenced FOR SHARE
        ), due AS MATERIALIZED (
          SELECT t.id FROM timers t WHERE EXISTS (SELECT 1 FROM alive)
            AND t.due_at <= extract(epoch FROM clock_timestamp()) * 1000
          ORDER BY t.due_at, t.id LIMIT ${limit}::int FOR UPDATE SKIP LOCKED
        ), fired AS (
          DELETE FROM timers t USING due WHERE t.id = due.id
          RETURNING t.due_at, t.id, t.slot, t.topic, t.frame
        )
        INSERT INTO outbox (relay, slot, topic, frame)
        SELECT ${relayId}::uuid, slot, topic, frame FROM fired ORDER BY due_at, id
        RETURNING id::float8 AS id, topic, slot, frame`;
    },
    async nextInMs() {
      const [row] = await sql<{ inMs: number | null }[]>`
        SELECT (min(due_at) - extract(epoch FROM clock_timestamp()) * 1000)::float8 AS "inMs"
        FROM timers`;
      return row?.inMs === null || row === undefined ? undefined : Math.max(0, row.inMs);
    },
  };
}

export interface DueTimersOptions {
  readonly environment: Environment;
  readonly rows: TimerRows;
  readonly relayId: string;
  /** Frames that are in the outbox now, after the commit: for the relay. */
  readonly onFired: (frames: readonly OutboxFrame[]) => void;
  /** Timers may have been fired without anybody hearing of it: for the relay. */
  readonly onUncertain: () => void;
  /** A bug: no timer is fired here any more. */
  readonly onFailure: (error: unknown) => void;
  readonly onLog?: ((level: "debug" | "info" | "warning", text: string) => void) | undefined;
}

export class DueTimers {
  readonly #options: DueTimersOptions;
  #timer: Timer | undefined;
  /** When it will look, by the monotonic clock. */
  #wakeAtMs: number | undefined;
  #looking: Promise<void> | undefined;
  /** When the last look began, by the monotonic clock. */
  #lookedAtMs: number | undefined;
  /** Since the look that is under way began. */
  #hintMs: number | undefined;
  #isClosed = false;

  constructor(options: DueTimersOptions) {
    this.#options = options;
    this.#wakeIn(0);
  }

  /** A timer was committed that is due at `dueAtMs`, by this process's clock. */
  started(dueAtMs: number): void {
    const { environment } = this.#options;
    const inMs = Math.max(WAIT_MIN_MS, dueAtMs - environment.nowMs());
    const atMs = environment.monotonicMs() + inMs;
    this.#hintMs = Math.min(this.#hintMs ?? atMs, atMs);
    this.#wakeIn(inMs);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  #wakeIn(leastMs: number): void {
    const { environment } = this.#options;
    const nowMs = environment.monotonicMs();
    const grainEndMs = (this.#lookedAtMs ?? nowMs - GRAIN_MS) + GRAIN_MS;
    const delayMs = Math.max(leastMs, grainEndMs - nowMs);
    const atMs = nowMs + delayMs;
    if (this.#isClosed || this.#looking !== undefined) return;
    if (this.#wakeAtMs !== undefined && atMs >= this.#wakeAtMs) return;
    this.#timer?.cancel();
    this.#wakeAtMs = atMs;
    this.#timer = environment.startTimer(delayMs, () => {
      this.#wakeAtMs = undefined;
      this.#looking = this.#look();
    });
  }

  async #look(): Promise<void> {
    const { environment, onFailure, onLog } = this.#options;
    this.#hintMs = undefined;
    this.#lookedAtMs = environment.monotonicMs();
    let nextMs = RETRY_MS;
    try {
      await this.#fireAll();
      const inMs = await this.#options.rows.nextInMs();
      nextMs = Math.min(IDLE_MS, Math.max(WAIT_MIN_MS, inMs ?? IDLE_MS));
    } catch (error) {
      if (error instanceof InvariantError) {
        this.#isClosed = true;
        onFailure(error);
        return;
      }
      onLog?.("debug", `due timers: ${describeError(error)}`);
    }
    this.#looking = undefined;
    const hintMs = this.#hintMs ?? environment.monotonicMs() + nextMs;
    this.#wakeIn(Math.max(0, Math.min(nextMs, hintMs - environment.monotonicMs())));
  }

  async #fireAll(): Promise<void> {
    const { rows, relayId, onFired, onUncertain } = this.#options;
    for (let fired = BATCH_MAX; fired === BATCH_MAX && !this.#isClosed;) {
      try {
        const frames = await rows.fire(relayId, BATCH_MAX);
        onFired(frames.toSorted((left, right) => left.id - right.id));
        fired = frames.length;
      } catch (error) {
        onUncertain();
        throw error;
      }
    }
  }
}

/** A store that tells `timers` what its units have started. */
export function withTimerHints(store: Store, timers: Pick<DueTimers, "started">): Store {
  return {
    ...store,
    async commit(unit, deliveries) {
      const result = await store.commit(unit, deliveries);
      if (result.kind === "committed") {
        for (const { dueAtMs } of unit.timersStarted) timers.started(dueAtMs);
      }
      return result;
    },
  };
}
