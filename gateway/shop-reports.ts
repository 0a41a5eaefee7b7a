/**
 * What the threads and the supervisors of a shop tell, as lines of the log and words for health.
 *
 * Damage is said once for each place, a storage that refuses every few seconds: neither may fill
 * the log. Refuses nothing; it decides nothing either.
 */

import type { Logger } from "@logtape/logtape";
import type { ConnectionState } from "../actors/brokers/broker.ts";
import type { ShardTold } from "../actors/shard-main.ts";
import type { JournalTold } from "../actors/stores/journal-runner.ts";
import type { ViewsTold } from "../actors/views/views-runner.ts";
import type { Environment } from "../runtime/environment.ts";
import type { SupervisorEvent } from "../runtime/supervision/supervisor.ts";
import type { Front } from "./front.ts";

import { SHOP_LAYOUT } from "../actors/shop-metrics.ts";
import { describeError } from "../runtime/errors.ts";
import { CounterWriter } from "../runtime/threads/counter-page.ts";
import { GATEWAY } from "./shop-layout.ts";

const REFUSAL_LOG_MS = 5_000;
/** Damaged places that are told one by one. */
const DAMAGE_MAX = 1_000;

type HealthListener = Front["health"];

export class ShopReports {
  /** Children that had to be cut off. */
  readonly killed: string[] = [];
  readonly #environment: Environment;
  readonly #log: Logger;
  readonly #counters: SharedArrayBuffer;
  readonly #damage = new Set<string>();
  /** By thread and server. */
  readonly #connections = new Map<string, ConnectionState>();
  #front: HealthListener | undefined;
  #refusalQuietUntilMs = 0;
  #holding = "";

  constructor(environment: Environment, log: Logger, counters: SharedArrayBuffer) {
    this.#environment = environment;
    this.#log = log;
    this.#counters = counters;
  }

  /** From now on health hears of it; of the damage so far at once, and of who holds the log. */
  tellHealth(front: HealthListener): void {
    this.#front = front;
    front.holding(this.#holding);
    for (const detail of this.#damage) front.damaged(detail);
    for (const [place, state] of this.#connections) {
      const [who = "", server = ""] = place.split(" ");
      front.connection(who, server, state);
    }
  }

  /** Said once for each place; health stays degraded until somebody has looked and restarted. */
  damaged(detail: string): void {
    if (this.#damage.has(detail) || this.#damage.size >= DAMAGE_MAX) return;
    this.#damage.add(detail);
    this.#log.error("damaged: {detail}", { detail });
    this.#front?.damaged(detail);
  }

  /** Every unit of a full disk is refused; one line every few seconds says it as well. */
  #refused(detail: string): void {
    this.#front?.refused(detail);
    const nowMs = this.#environment.monotonicMs();
    if (nowMs < this.#refusalQuietUntilMs) return;
    this.#refusalQuietUntilMs = nowMs + REFUSAL_LOG_MS;
    this.#log.warning("storage refuses: {detail}", { detail });
  }

  heardJournal(told: Exclude<JournalTold, { readonly kind: "thread_reset" }>): void {
    if (told.kind === "damage") this.damaged(told.detail);
    else if (told.kind === "refused") this.#refused(told.detail);
    else if (told.kind === "feeds_forgotten") this.#forgotten(told.names);
    else if (told.kind === "holding") this.#holdsLog(told.detail);
    else this.#unattended(told.group, told.records);
  }

  /** A group holds much of the log, or none does any more. */
  #holdsLog(detail: string): void {
    this.#holding = detail;
    this.#front?.holding(detail);
    if (detail === "") this.#log.info("the log has room again");
    else this.#log.warning("{detail}", { detail });
  }

  /** A role that is switched off, most likely: what it has not read is kept as long as may be. */
  #unattended(group: string, records: number): void {
    const text = "nobody here reads as {group}, for which {records} records are kept";
    this.#log.warning(`${text}; they go once the log is over its size`, { group, records });
  }

  told(who: string, told: ShardTold | ViewsTold): void {
    if (told.kind === "damage") this.damaged(told.detail);
    else if (told.kind === "imbalance") this.#unbalanced(who, told.detail);
    else if (told.kind === "balanced") this.#balanced(who);
    else if (told.kind === "connection") this.connection(who, told.server, told.state);
    else this.#log[told.level](`${who}: {text}`, { text: told.text });
  }

  /** Each thread has connections of its own, and each tells. */
  connection(who: string, server: string, state: ConnectionState): void {
    const place = `${who} ${server}`;
    const before = this.#connections.get(place);
    this.#connections.set(place, state);
    this.#front?.connection(who, server, state);
    if (state.isUp && before?.isUp !== false) return;
    if (state.isUp) this.#log.warning(`${who}: {server} is reached again`, { server });
    else if (before?.detail !== state.detail) {
      this.#log.warning(`${who}: {server} cannot be reached: {detail}`, {
        server,
        detail: state.detail,
      });
    }
  }

  #unbalanced(who: string, detail: string): void {
    this.#log.error("{who}: {detail}", { who, detail });
    this.#front?.unbalanced(who, detail);
  }

  #balanced(who: string): void {
    this.#log.info("{who}: the ledger balances again", { who });
    this.#front?.balanced(who);
  }

  #forgotten(names: readonly string[]): void {
    const text = "no view reads for {names} any more: what they had not read is not kept for them";
    this.#log.warning(text, { names: names.join(", ") });
  }

  heard(event: SupervisorEvent): void {
    const log = this.#log;
    if (event.kind === "child_exited" && event.exit.kind === "abnormal") {
      const reason = describeError(event.exit.error);
      log.error("{child} died: {reason}", { child: event.childId, reason });
    }
    if (event.kind === "child_start_failed") {
      const reason = describeError(event.error);
      // Whoever starts the shop is told of the first failure by the rejection.
      const level = this.#front === undefined ? "debug" : "error";
      log[level]("{child} did not start: {reason}", { child: event.childId, reason });
    }
    if (event.kind === "child_started" && event.restarts > 0) {
      // Its books begin anew.
      this.#front?.balanced(event.childId);
      log.warning("{child} was replaced", { child: event.childId });
      const writer = new CounterWriter(this.#counters, SHOP_LAYOUT, GATEWAY);
      writer.counter("shopstream_thread_restarts_total").add();
    }
    if (event.kind === "child_killed") this.killed.push(event.childId);
    if (event.kind === "gave_up") log.fatal("gave up: {reason}", { reason: event.error.message });
  }
}
