/**
 * The router of one shard, and what carries frames to other brokers and in from them.
 *
 * Services are given the routed store; what carries frames stands on the store itself, since those
 * frames are routed already. A broker that a route names has an egress here or the shard does not
 * start: an outbox that nobody reads would only grow.
 */

import type { ActorSystem } from "../runtime/actors/actor-system.ts";
import type { Environment, Timer } from "../runtime/environment.ts";
import type { Broker } from "./brokers/broker.ts";
import type { Consumer } from "./delivery/consumer.ts";
import type { CircuitStateName } from "./delivery/breaker.ts";
import type { RouteRules } from "./routing/compile-routes.ts";
import type { Egress, EgressSettings } from "./routing/egress.ts";
import type { RouteRow } from "./routing/route-row.ts";
import type { ShardMetrics } from "./shard-metrics.ts";
import type { Store } from "./stores/unit-of-work.ts";

import { ShopError } from "../runtime/errors.ts";
import { startEgress } from "./routing/egress.ts";
import { startIngress, startUnmatched } from "./routing/ingress.ts";
import { routeStore } from "./routing/route-store.ts";
import { Router } from "./routing/router.ts";
import { compileTopology } from "./topology.ts";

const SAMPLE_MS = 1_000;

/** Plain values, cloneable. */
export interface RouterSettings extends EgressSettings {
  readonly routes: readonly RouteRow[];
  readonly unmatched: RouteRules["unmatched"];
  /** Frames that may wait for one broker, in all shards together. */
  readonly outboxFramesMax: number;
  /** Shards that share the bounds. */
  readonly shards: number;
}

/** A broker beside the local one. */
export interface ForeignBroker {
  readonly name: string;
  readonly broker: Broker;
  readonly topics: readonly string[];
  /** Those of its topics that this shop takes in. */
  readonly ingressTopics: readonly string[];
}

export interface ShardRoutingOptions {
  readonly environment: Environment;
  readonly broker: Pick<Broker, "subscribe">;
  readonly store: Store;
  readonly system: ActorSystem;
  readonly slots: number;
  readonly partitions: readonly number[];
  readonly settings: RouterSettings;
  readonly foreign: readonly ForeignBroker[];
  readonly metrics: Pick<ShardMetrics, "egress">;
  readonly onLog: (level: "warning", text: string) => void;
  readonly onFailure: (error: unknown) => void;
}

export interface ShardRouting {
  /** For every service: its commits are routed. */
  readonly store: Store;
  /** Throws `SATURATED`, naming the broker, while too much waits for one. */
  admit(): void;
  /** Joins outboxes and foreign topics, once the services are there. */
  start(): Promise<void>;
  /** Takes nothing in any more; to be called before the services drain. */
  drainIngresses(withinMs: number): Promise<void>;
  /** Sends what the services left in the outboxes; what does not get out stays there. */
  drainEgresses(withinMs: number): Promise<void>;
}

/** Throws `BAD_CONFIGURATION` naming each bad row. */
export function createShardRouting(options: ShardRoutingOptions): ShardRouting {
  const { settings, foreign, metrics } = options;
  const table = compileTopology(
    settings,
    new Map(foreign.map(({ name, topics, ingressTopics }) => [name, { topics, ingressTopics }])),
  );
  const router = new Router({
    table,
    outboxFramesMax: Math.ceil(settings.outboxFramesMax / settings.shards),
  });
  const rateShare = 1 / settings.shards;
  const shared = { ...options, router, rateShare, source: options.broker };
  const ingresses: Consumer[] = [];
  const egresses: Egress[] = [];
  let sampling: Timer | undefined;

  async function startForeign({ name, broker, ingressTopics }: ForeignBroker): Promise<void> {
    const onCircuit = (state: CircuitStateName): void =>
      options.onLog("warning", `circuit of broker ${name} is ${state}`);
    const egress = await startEgress({ ...shared, name, target: broker, onCircuit });
    egresses.push(egress);
    if (ingressTopics.length === 0) return;
    const { partitions: _own, ...anywhere } = shared;
    ingresses.push(
      await startIngress({ ...anywhere, name, source: broker, topics: ingressTopics }),
    );
  }

  function sample(): void {
    for (const egress of egresses) metrics.egress(egress.name, egress.state());
    sampling = options.environment.startTimer(SAMPLE_MS, sample);
  }

  return {
    store: routeStore(options.store, router),
    admit() {
      const admission = router.admission();
      if (admission !== "open") throw new ShopError("SATURATED", admission.reason, "later");
    },
    async start() {
      ingresses.push(await startUnmatched(shared));
      for (const one of foreign) await startForeign(one);
      if (foreign.length > 0) sample();
    },
    async drainIngresses(withinMs) {
      await Promise.all(ingresses.map((ingress) => ingress.drain(withinMs)));
    },
    async drainEgresses(withinMs) {
      sampling?.cancel();
      await Promise.all(egresses.map((egress) => egress.drain(withinMs)));
    },
  };
}
