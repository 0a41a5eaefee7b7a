/**
 * The one place that decides what becomes of a delivery: acknowledged, tried again, or buried.
 *
 * Nothing else in the shop calls `ack`, `postpone` or `bury`. A settlement that fails is tried
 * again for as long as the delivery is ours, with its key blocked behind it: a frame is never
 * dropped because the dead letters could not take it.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Burial, SettleResult, Subscription } from "../brokers/broker.ts";
import type { ConsumerEvent } from "./consumer-event.ts";
import type { DeliveryPolicy } from "./delivery-policy.ts";
import type { ExpiryClock } from "./expiry-clock.ts";
import type { Item } from "./in-hand.ts";
import type { Outcome, Retry } from "./outcome.ts";
import type { RetryPolicy } from "./retry-schedule.ts";

import { describeError, isShopError } from "../../runtime/errors.ts";
import { createExpiryClock } from "./expiry-clock.ts";
import { isBlameless } from "./outcome.ts";
import { afterFailure, backoffMs } from "./retry-schedule.ts";

export interface SettlementOptions {
  readonly environment: Environment;
  readonly policy: DeliveryPolicy;
  readonly onEvent: (event: ConsumerEvent) => void;
  /** The item is settled: count it and let the next of its key go on. */
  readonly finish: (item: Item, how: "acked" | "buried") => void;
  /** The item is not ours any more. */
  readonly drop: (item: Item) => void;
  /** Hand the item to the handler again, `delayMs` from now. */
  readonly wait: (item: Item, delayMs: number) => void;
}

export class Settlement {
  readonly #options: SettlementOptions;
  readonly #subscription: Subscription;
  readonly #expiry: ExpiryClock;
  #acks: Item[] = [];
  /** Burials that are with the broker, of items that are not ours any more as well. */
  readonly #burials = new Map<Item, PromiseWithResolvers<void>>();

  constructor(subscription: Subscription, options: SettlementOptions) {
    this.#subscription = subscription;
    this.#options = options;
    this.#expiry = createExpiryClock(options.environment);
  }

  /** Those of them that may be buried yet, though they may be ours no more: each until it ended. */
  burying(which: (item: Item) => boolean): readonly Promise<void>[] {
    return [...this.#burials].flatMap(([item, { promise }]) => (which(item) ? [promise] : []));
  }

  /** Decides by `outcome` what becomes of `item`, and does it. */
  settle(item: Item, outcome: Outcome): void {
    switch (outcome.kind) {
      case "settled":
        this.#options.finish(item, "acked");
        return;
      case "ack":
        this.#acknowledge(item);
        return;
      case "bury":
        this.#startBurial(item, burialOf(item, outcome.reason, outcome.error));
        return;
      case "retry":
        this.#retry(item, outcome);
        return;
    }
  }

  /**
   * Tells the broker that `item` is alive though nobody works on it: it is behind its key, or
   * waits for its turn or its retry. Its lease starts anew.
   */
  renew(item: Item): void {
    const { environment } = this.#options;
    item.leaseFromMs = environment.monotonicMs();
    this.#recordWait(item, Math.max(item.notBeforeMs, environment.nowMs()), "waiting for its turn");
  }

  /** Acknowledgements of one turn go out together. */
  #acknowledge(item: Item): void {
    item.state = "settling";
    this.#acks.push(item);
    if (this.#acks.length > 1) return;
    // `#flushAcks` handles its own failures and cannot reject.
    this.#options.environment.defer(() => void this.#flushAcks());
  }

  async #flushAcks(): Promise<void> {
    const items = this.#acks.filter((item) => item.owned);
    this.#acks = [];
    if (items.length === 0) return;
    let results: readonly SettleResult[];
    try {
      results = await this.#subscription.ack(items.map((item) => item.delivery));
    } catch (error) {
      for (const item of items) {
        this.#settleLater(item, "ack", error, () => this.#acknowledge(item));
      }
      return;
    }
    for (let at = 0; at < items.length; at++) {
      this.#conclude(items[at]!, results[at], "acked"); // `!`: the loop's bound
    }
  }

  async #bury(item: Item, burial: Burial): Promise<void> {
    item.state = "settling";
    const { delivery } = item;
    let result: SettleResult;
    const ended = Promise.withResolvers<void>();
    this.#burials.set(item, ended);
    try {
      result = await this.#subscription.bury(delivery, burial);
    } catch (error) {
      this.#settleLater(item, "bury", error, () => this.#startBurial(item, burial));
      return;
    } finally {
      this.#burials.delete(item);
      ended.resolve();
    }
    if (result === "settled") this.#options.onEvent({ kind: "buried", delivery, burial });
    this.#conclude(item, result, "buried");
  }

  #retry(item: Item, { error, schedule, blameless = isBlameless(error) }: Retry): void {
    const { environment } = this.#options;
    const policy = schedule ?? this.#options.policy.retry;
    item.failures++;
    item.firstError ??= describeError(error);
    const random = environment.random();
    const decision = blameless
      ? { kind: "wait" as const, delayMs: backoffMs(policy, item.failures, random) }
      : afterFailure(policy, item.attempt, random);
    if (decision.kind === "poison") {
      this.#startBurial(item, burialOf(item, "poison", error));
      return;
    }
    if (this.#isTooLate(item, policy, decision.delayMs)) {
      this.#startBurial(item, burialOf(item, "too_late", error));
      return;
    }
    const { delayMs } = decision;
    const { delivery, attempt } = item;
    this.#options.onEvent({ kind: "retry", delivery, attempt, delayMs, error });
    if (!blameless) item.attempt++;
    item.leaseFromMs = environment.monotonicMs() + delayMs;
    this.#options.wait(item, delayMs);
    this.#recordWait(item, item.notBeforeMs, describeError(error));
  }

  #isTooLate({ content }: Item, { deadlineMs }: RetryPolicy, delayMs: number): boolean {
    if (deadlineMs === undefined || typeof content !== "object") return false;
    return this.#expiry.hasPassed(content.timeMs + deadlineMs - delayMs);
  }

  #recordWait(item: Item, notBeforeMs: number, error: string): void {
    // `#postpone` handles its own failures and cannot reject.
    void this.#postpone(item, notBeforeMs, error);
  }

  #startBurial(item: Item, burial: Burial): void {
    // `#bury` handles its own failures and cannot reject.
    void this.#bury(item, burial);
  }

  /** Without the record a restart forgets the attempt, no more: the wait goes on regardless. */
  async #postpone(item: Item, notBeforeMs: number, error: string): Promise<void> {
    const { delivery, attempt } = item;
    try {
      const postponement = { attempt, notBeforeMs, error };
      const result = await this.#subscription.postpone(delivery, postponement);
      if (result === "stale") this.#options.drop(item);
    } catch (cause) {
      this.#options.onEvent({ kind: "settle_failed", what: "postpone", delivery, error: cause });
    }
  }

  #conclude(item: Item, result: SettleResult | undefined, how: "acked" | "buried"): void {
    if (result === "settled" || result === "repeat") this.#options.finish(item, how);
    else this.#options.drop(item);
  }

  #settleLater(item: Item, what: "ack" | "bury", error: unknown, again: () => void): void {
    if (!item.owned) return;
    const { environment, policy, onEvent } = this.#options;
    onEvent({ kind: "settle_failed", what, delivery: item.delivery, error });
    if (isShopError(error, "CLOSED")) {
      this.#options.drop(item);
      return;
    }
    item.settleFailures++;
    const delayMs = backoffMs(policy.retry, item.settleFailures, environment.random());
    item.timer = environment.startTimer(delayMs, () => {
      item.timer = undefined;
      again();
    });
  }
}

function burialOf(item: Item, reason: string, error: unknown): Burial {
  const lastError = describeError(error);
  return { reason, attempts: item.attempt, firstError: item.firstError ?? lastError, lastError };
}
