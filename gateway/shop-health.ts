/**
 * How the services are doing, from what they counted of late.
 *
 * A service is degraded when most of what it handled lately failed, the journal when storage
 * refused a commit lately, a record is damaged or one group holds much of the log, the ledger while
 * a partition does not balance, the shards when one of them is not running, a view when it fails or
 * lags, an egress until its circuit is closed, a server while a thread cannot reach it. It measures
 * nothing itself.
 */

import type { ConnectionState } from "../actors/brokers/broker.ts";
import type { Environment, Timer } from "../runtime/environment.ts";
import type { Sample } from "../runtime/threads/counter-page.ts";
import type { HealthReport, ServiceHealth, ServiceStatus } from "./http/gateway-ports.ts";

import { egressHealth } from "./egress-health.ts";
import { viewHealth } from "./view-health.ts";

const SAMPLE_MS = 1_000;
/** Samples kept: the window that "of late" means. */
const SAMPLES_MAX = 15;
const ERROR_RATE_DEGRADED = 0.5;
/** Fewer attempts than this in the window say nothing. */
const ATTEMPTS_MIN = 5;
const REFUSAL_MEMORY_MS = 5_000;

/** What a store counts of itself: the journal is a service of this process, a server is not. */
const STORE_OF: ReadonlyMap<string, string> = new Map([
  ["shopstream_store_commit_duration_seconds", "journal"],
  ["shopstream_store_units_total", "journal"],
]);

export interface ShopHealthOptions {
  readonly environment: Environment;
  readonly services: readonly string[];
  readonly samples: () => readonly Sample[];
  readonly shards: () => { readonly specs: number; readonly active: number };
  readonly views: readonly string[];
  readonly viewsRunning: () => boolean;
  /** Age of the oldest record not taken from which on a view is degraded. */
  readonly lagDegradedMs: number;
  /** False: rows and messages are on servers. */
  readonly hasJournal?: boolean;
}

interface Totals {
  readonly ok: number;
  readonly failed: number;
  readonly seconds: number;
  readonly timed: number;
}

type Snapshot = ReadonlyMap<string, Totals>;

export class ShopHealth {
  readonly #options: ShopHealthOptions;
  readonly #snapshots: Snapshot[] = [];
  #timer: Timer | undefined;
  #checkedMs: number;
  #damage: string | undefined;
  /** By shard. */
  readonly #imbalances = new Map<string, string>();
  /** By server, then by thread. */
  readonly #servers = new Map<string, Map<string, ConnectionState>>();
  #holding = "";
  #refusal: { readonly atMs: number; readonly detail: string } | undefined;

  constructor(options: ShopHealthOptions) {
    this.#options = options;
    this.#checkedMs = options.environment.nowMs();
    this.#sample();
  }

  /** Storage refused to commit. */
  refused(detail: string): void {
    this.#refusal = { atMs: this.#options.environment.monotonicMs(), detail };
  }

  /** A record cannot be read. Stays until the shop is started again. */
  damaged(detail: string): void {
    this.#damage = detail;
  }

  /** Who holds much of the log; empty: nobody. A full log takes no orders. */
  holding(detail: string): void {
    this.#holding = detail;
  }

  /** A thread of this process can reach a server, or cannot. */
  connection(thread: string, server: string, state: ConnectionState): void {
    const threads = this.#servers.get(server) ?? new Map<string, ConnectionState>();
    this.#servers.set(server, threads.set(thread, state));
  }

  /** The books of `shard` do not balance; they do again, or it has begun new ones. */
  unbalanced(shard: string, detail: string): void {
    this.#imbalances.set(shard, detail);
  }

  balanced(shard: string): void {
    this.#imbalances.delete(shard);
  }

  report(): HealthReport {
    const services = [
      ...this.#options.services.map((name) => this.#service(name)),
      ...this.#views(),
      ...egressHealth(this.#options.samples(), this.#checkedMs),
      ...this.#serverParts(),
      ...(this.#options.hasJournal === false ? [] : [this.#journal()]),
      this.#ledger(),
      this.#shards(),
    ];
    const isUp = services.every(({ status }) => status === "up");
    return { status: isUp ? "up" : "degraded", services };
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #sample(): void {
    const { environment, samples } = this.#options;
    this.#snapshots.push(totalsByService(samples()));
    if (this.#snapshots.length > SAMPLES_MAX) this.#snapshots.shift();
    this.#checkedMs = environment.nowMs();
    this.#timer = environment.startTimer(SAMPLE_MS, () => this.#sample());
  }

  #service(name: string): ServiceHealth {
    const zero: Totals = { ok: 0, failed: 0, seconds: 0, timed: 0 };
    const first = this.#snapshots[0]?.get(name) ?? zero;
    const last = this.#snapshots.at(-1)?.get(name) ?? zero;
    const failed = last.failed - first.failed;
    const attempts = last.ok - first.ok + failed;
    const timed = last.timed - first.timed;
    const errorRate = attempts === 0 ? 0 : failed / attempts;
    const isFailing = attempts >= ATTEMPTS_MIN && errorRate > ERROR_RATE_DEGRADED;
    return {
      name,
      status: isFailing ? "degraded" : "up",
      latencyMs: timed === 0 ? 0 : ((last.seconds - first.seconds) / timed) * 1_000,
      errorRate,
      lastCheckedMs: this.#checkedMs,
      ...(isFailing ? { detail: `${failed} of ${attempts} attempts failed` } : {}),
    };
  }

  #journal(): ServiceHealth {
    const nowMs = this.#options.environment.monotonicMs();
    const refusal = this.#refusal;
    const isRefusing = refusal !== undefined && nowMs - refusal.atMs < REFUSAL_MEMORY_MS;
    const detail = this.#damage ?? (isRefusing ? refusal.detail : this.#holding);
    const { latencyMs, errorRate } = this.#service("journal");
    const part = this.#part("journal", detail === "" ? "up" : "degraded", detail);
    return { ...part, latencyMs, errorRate };
  }

  /** Degraded while one thread cannot reach it: what that thread has to do waits. */
  #serverParts(): readonly ServiceHealth[] {
    return [...this.#servers].map(([server, threads]) => {
      const down = [...threads].filter(([, { isUp }]) => !isUp);
      const [first] = down;
      const detail = first === undefined ? "" : `${first[0]}: ${first[1].detail}`;
      return this.#part(`server.${server}`, first === undefined ? "up" : "degraded", detail);
    });
  }

  #views(): readonly ServiceHealth[] {
    const { views, samples, viewsRunning, lagDegradedMs } = this.#options;
    if (views.length === 0) return [];
    const about = { samples: samples(), isRunning: viewsRunning(), lagDegradedMs };
    return views.map((view) => viewHealth(view, { ...about, checkedMs: this.#checkedMs }));
  }

  #ledger(): ServiceHealth {
    const [first] = this.#imbalances.values();
    return this.#part("ledger", first === undefined ? "up" : "degraded", first ?? "");
  }

  #shards(): ServiceHealth {
    const { specs, active } = this.#options.shards();
    const isWhole = specs === active;
    return this.#part(
      "shards",
      isWhole ? "up" : "degraded",
      isWhole ? "" : `${active} of ${specs} run`,
    );
  }

  #part(name: string, status: ServiceStatus, detail: string): ServiceHealth {
    const measured = { latencyMs: 0, errorRate: 0, lastCheckedMs: this.#checkedMs };
    return { name, status, ...measured, ...(detail === "" ? {} : { detail }) };
  }
}

function totalsByService(samples: readonly Sample[]): Snapshot {
  const totals = new Map<string, { ok: number; failed: number; seconds: number; timed: number }>();
  for (const sample of samples) {
    const service = sample.labels["service"] ?? STORE_OF.get(sample.name);
    if (service === undefined) continue;
    const of = totals.get(service) ?? { ok: 0, failed: 0, seconds: 0, timed: 0 };
    totals.set(service, of);
    if (sample.kind === "histogram") {
      of.seconds += sample.sum;
      of.timed += sample.count;
    } else {
      const outcome = sample.labels["status"] ?? sample.labels["answer"];
      if (outcome === "ok" || outcome === "committed") of.ok += sample.value;
      else of.failed += sample.value;
    }
  }
  return totals;
}
