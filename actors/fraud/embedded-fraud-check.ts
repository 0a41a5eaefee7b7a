/**
 * The fraud check on our own store: gathered orders, one load, one scoring, one commit.
 *
 * Profiles are shared by every shard, so a batch is optimistic like that of the stock: read, score,
 * commit under the versions that were read, and on a conflict read again (Kung & Robinson, 1981).
 * An order is counted and its verdict written in the same commit, before money moves; asked again,
 * it gets that verdict and is not counted again. Never approves what it could not commit.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { Row, RowWrite, Store, UnitOfWork } from "../stores/unit-of-work.ts";
import type { FraudCheck, FraudOrder, Verdict } from "./fraud-check.ts";
import type { ScoredBatch, Scorer } from "./score-batch.ts";
import type { FraudSettings } from "./thresholds.ts";

import { isShopError, ShopError } from "../../runtime/errors.ts";
import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { cardKeyOf, customerKeyOf } from "./fraud-profile.ts";
import { FRAUD_SETTINGS } from "./thresholds.ts";
import { WaitingOrders } from "./waiting-orders.ts";

/** A verdict that was reached now; those that were only looked up are not reported. */
export interface VerdictReport extends Verdict {
  /** From the question to the verdict. */
  readonly durationMs: number;
}

export interface FraudCheckOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly scorer: Scorer;
  readonly settings?: FraudSettings;
  /** After the commit. Must not throw. */
  readonly onVerdict?: (report: VerdictReport) => void;
}

export function createFraudCheck(options: FraudCheckOptions): FraudCheck {
  const { store, environment, scorer, settings = FRAUD_SETTINGS } = options;
  const waiting = new WaitingOrders({ environment, ...settings });
  const closing = new AbortController();
  let isRunning = false;
  /** Runs while the next batch is gathered. */
  let gathering: Timer | undefined;

  async function check(order: FraudOrder, signal: AbortSignal): Promise<Verdict> {
    if (signal.aborted || closing.signal.aborted) throw closed();
    const verdict = waiting.add(order);
    schedule();
    return await verdict;
  }

  /** Two batches of one shard would only conflict with each other: one is under way at a time. */
  function schedule(): void {
    if (isRunning || waiting.untaken === 0) return;
    if (waiting.untaken >= settings.batchMax) void run();
    else gathering ??= environment.startTimer(settings.gatherMs, () => void run());
  }

  /** Does not reject: every failure is an answer to those who wait. */
  async function run(): Promise<void> {
    isRunning = true;
    gathering?.cancel();
    gathering = undefined;
    const { signal, end } = startDeadline();
    await decideOrFail(waiting.take(settings.batchMax), signal);
    end();
    isRunning = false;
    schedule();
  }

  /** One row that cannot be read holds its own orders, not those that came with them. */
  async function decideOrFail(orders: readonly FraudOrder[], signal: AbortSignal): Promise<void> {
    try {
      await decide(orders, signal);
    } catch (error) {
      if (orders.length === 1 || !isShopError(error, "DATA_DAMAGED")) {
        waiting.failTaken(orders, error);
        return;
      }
      const half = Math.ceil(orders.length / 2);
      await decideOrFail(orders.slice(0, half), signal);
      await decideOrFail(orders.slice(half), signal);
    }
  }

  /** Scoring may take as long as an order may wait; afterwards nobody is there to hear of it. */
  function startDeadline() {
    const controller = new AbortController();
    const abort = () => controller.abort();
    const timer: Timer = environment.startTimer(settings.timeoutMs, abort);
    closing.signal.addEventListener("abort", abort, { once: true });
    return {
      signal: controller.signal,
      end() {
        timer.cancel();
        closing.signal.removeEventListener("abort", abort);
      },
    };
  }

  async function decide(orders: readonly FraudOrder[], signal: AbortSignal): Promise<void> {
    let open = orders;
    if (open.length === 0) return;
    for (let tries = 0; tries < settings.decisionsMax; tries++) {
      if (tries > 0) await backOff(tries);
      const rows = await load(open);
      open = answerKnown(open, rows);
      if (open.length === 0) return;
      const profiles = profileKeysOf(open).flatMap((key) => {
        const row = rows.get(key);
        return row === undefined ? [] : [[key, row.data] as const];
      });
      const scored = await scorer.score(
        { nowMs: environment.nowMs(), orders: open, profiles },
        signal,
      );
      if (await isCommitted(unitOf(open, scored, rows))) {
        for (const [at, { orderId }] of open.entries()) report(orderId, scored.verdicts[at]);
        return;
      }
    }
    throw new ShopError("CHECK_UNAVAILABLE", "others kept changing the profiles", "later");
  }

  async function load(orders: readonly FraudOrder[]): Promise<ReadonlyMap<string, Row>> {
    const keys = [...orders.map(verdictKeyOf), ...profileKeysOf(orders)];
    const rows = new Map<string, Row>();
    for (const row of await store.load("fraud", keys))
      if (row !== undefined) rows.set(row.key, row);
    return rows;
  }

  /** Answers the orders that have a verdict; the others are left. */
  function answerKnown(
    orders: readonly FraudOrder[],
    rows: ReadonlyMap<string, Row>,
  ): readonly FraudOrder[] {
    return orders.filter((order) => {
      const row = rows.get(verdictKeyOf(order));
      if (row !== undefined) waiting.answer(order.orderId, decodeVerdict(row.data));
      return row === undefined;
    });
  }

  /** False when another was faster, and when only the rows can tell. */
  async function isCommitted(unit: UnitOfWork): Promise<boolean> {
    try {
      return (await store.commit(unit, [])).kind === "committed";
    } catch (error) {
      if (isShopError(error, "INDETERMINATE")) return false;
      throw error;
    }
  }

  function report(orderId: string, verdict: Verdict | undefined): void {
    if (verdict === undefined) return;
    const durationMs = waiting.answer(orderId, verdict) ?? settings.timeoutMs;
    options.onVerdict?.({ ...verdict, durationMs });
  }

  async function backOff(tries: number): Promise<void> {
    const longestMs = Math.min(settings.backoffMsMax, 2 ** tries);
    const { promise, resolve } = Promise.withResolvers<void>();
    environment.startTimer(environment.random() * longestMs, resolve);
    await promise;
  }

  return {
    check,
    async close() {
      closing.abort();
      gathering?.cancel();
      waiting.failAll(closed());
      await scorer.close();
    },
  };
}

/** The verdicts of `orders` and the profiles they changed, under the versions in `rows`. */
function unitOf(
  orders: readonly FraudOrder[],
  { verdicts, profiles }: ScoredBatch,
  rows: ReadonlyMap<string, Row>,
): UnitOfWork {
  const write = (key: string, data: Uint8Array): RowWrite => ({
    table: "fraud",
    key,
    expectedVersion: rows.get(key)?.version ?? 0,
    data,
  });
  return {
    ...EMPTY_UNIT,
    rows: [
      ...orders.map((order, at) => write(verdictKeyOf(order), encodeValue(verdicts[at]))),
      ...profiles.map(([key, data]) => write(key, data)),
    ],
  };
}

function verdictKeyOf({ orderId }: FraudOrder): string {
  return `order:${orderId}`;
}

function profileKeysOf(orders: readonly FraudOrder[]): readonly string[] {
  const keys = new Set<string>();
  for (const { customerId, card } of orders) {
    keys.add(customerKeyOf(customerId));
    if (card !== undefined) keys.add(cardKeyOf(card));
  }
  return [...keys];
}

/** The verdict in a row under `order:`. */
function decodeVerdict(data: Uint8Array): Verdict {
  // Only this service writes this table, and the store keeps what it was given.
  return decodeValue(data) as Verdict;
}

function closed(): ShopError {
  return new ShopError("CLOSED", "the fraud check is closed", "later");
}
