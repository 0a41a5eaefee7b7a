/**
 * Lets one process at a time remove what has been kept long enough.
 *
 * All processes try, every so often; the database's advisory lock says who may. Who has it works
 * in small steps until nothing is left to do, and gives it back. A step that fails is tried again
 * next time. What is removed, and after how long, is the steps' business.
 */

import type { ReservedSql, Sql } from "postgres";
import type { Environment, Timer } from "../../../runtime/environment.ts";
import type { RetentionStep } from "./postgres-retention.ts";

import { describeError } from "../../../runtime/errors.ts";

/** "ShopHous" as a number: who else uses advisory locks on this database takes another. */
const LOCK = "6010206830386177395";

export interface HousekeepingSettings {
  readonly everyMs: number;
  /** Steps of one turn, so that one process does not hold the lock for ever. */
  readonly stepsMax: number;
}

export const HOUSEKEEPING_SETTINGS: HousekeepingSettings = { everyMs: 60_000, stepsMax: 1_000 };

export interface HousekeepingOptions {
  readonly environment: Environment;
  readonly sql: Sql;
  readonly steps: readonly RetentionStep[];
  readonly settings?: HousekeepingSettings;
  readonly onRemoved?: (rows: number) => void;
  readonly onLog?: (level: "debug" | "info" | "warning", text: string) => void;
}

export interface Housekeeping {
  /** A turn now; `undefined` when another process has the lock. */
  turn(): Promise<number | undefined>;
  close(): Promise<void>;
}

export function startHousekeeping(options: HousekeepingOptions): Housekeeping {
  const { environment, sql, steps, settings = HOUSEKEEPING_SETTINGS, onLog } = options;
  let isClosed = false;
  let timer: Timer | undefined;
  let running: Promise<void> = Promise.resolve();

  /** The lock belongs to the connection: it is gone with it, however the process ends. */
  async function turn(): Promise<number | undefined> {
    const connection = await sql.reserve();
    try {
      const [row] = await connection<{ mine: boolean }[]>`
        SELECT pg_try_advisory_lock(${LOCK}::text::bigint) AS mine`;
      if (row?.mine !== true) return undefined;
      try {
        return await work(connection);
      } finally {
        await connection`SELECT pg_advisory_unlock(${LOCK}::text::bigint)`;
      }
    } finally {
      connection.release();
    }
  }

  async function work(connection: ReservedSql): Promise<number> {
    let removed = 0;
    for (const step of steps) {
      for (let done = 0; done < settings.stepsMax && !isClosed; done++) {
        const rows = await step(connection);
        removed += rows;
        if (rows === 0) break;
      }
    }
    if (removed > 0) options.onRemoved?.(removed);
    return removed;
  }

  function plan(): void {
    if (isClosed) return;
    // Spread, so that the processes do not all ask at once.
    const delayMs = settings.everyMs * (0.75 + environment.random() / 2);
    timer = environment.startTimer(delayMs, () => {
      running = turnPatiently();
    });
  }

  async function turnPatiently(): Promise<void> {
    try {
      await turn();
    } catch (error) {
      onLog?.("debug", `housekeeping: ${describeError(error)}`);
    }
    plan();
  }

  plan();
  return {
    turn,
    async close() {
      isClosed = true;
      timer?.cancel();
      await running;
    },
  };
}
