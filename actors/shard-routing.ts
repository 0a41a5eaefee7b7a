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
import type { BurialLog } from "./delivery/burial-log.ts";
import type { Consumer } from "./delivery/consumer.ts";
import type { ConsumerEvent } from "./delivery/consumer-event.ts";
import type { GroundOutbox } from "./grounds/shard-ground.ts";
import type { LedgerMember } from "./ledger/ledger-watch.ts";
import type { RouteRules } from "./routing/compile-routes.ts";
import type { Egress, EgressSettings } from "./routing/egress.ts";
import type { RouteRow } from "./routing/route-row.ts";
import type { ShardMetrics } from "./shard-metrics.ts";
import type { Store } from "./stores/unit-of-work.ts";

import { ShopError } from "../runtime/errors.ts";
import { wayStates } from "./grounds/outbox-samples.ts";
import { egressGroup, startEgress } from "./routing/egress.ts";
import { startIngress, startUnmatched, UNMATCHED_GROUP } from "./routing/ingress.ts";
import { routeStore } from "./routing/route-store.ts";
import { Router } from "./routing/router.ts";
import { compileTopology, COPYING_TOPOLOGY, TOPOLOGY } from "./topology.ts";

const SAMPLE_MS = 1_000;
/** At a stop: between two looks at an outbox, and how many in a row must find it empty. */
const DRAIN_LOOK_MS = 25;
const DRAIN_LOOKS = 2;

/** Plain values, cloneable. */
export interface RouterSettings extends EgressSettings {
  readonly routes: readonly RouteRow[];
  readonly unmatched: RouteRules["unmatched"];
  /** Frames that may wait for one broker, in all shards together. */
  readonly outboxFramesMax: number;
  /** Shards that share the bounds. */
  readonly shards: number;
  /** See `COPYING_TOPOLOGY`. */
  readonly copiesNotices?: boolean;
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
  /** Absent: those that the broker assigns. */
  readonly partitions?: readonly number[];
  readonly settings: RouterSettings;
  readonly foreign?: readonly ForeignBroker[];
  /** Absent: the log takes frames with their unit. */
  readonly outbox?: Pick<GroundOutbox, "lanes">;
  readonly metrics: Pick<ShardMetrics, "consumed" | "egress">;
  readonly burials: Pick<BurialLog, "buried">;
  readonly onLog: (level: "warning", text: string) => void;
  readonly onFailure: (error: unknown) => void;
}

export interface ShardRouting {
  /** For every service: its commits are routed. */
  readonly store: Store;
  /** Throws `SATURATED`, naming the broker, while too much waits for one. */
  admit(): void;
  /**
   * Joins outboxes and foreign topics, once the services are there. Answers the groups of the local
   * log, for the ledger; that they are asked for their books also sets the depth of outboxes right.
   */
  start(): Promise<readonly LedgerMember[]>;
  /** Takes nothing in any more; to be called no later than the services drain. */
  drainIngresses(withinMs: number): Promise<void>;
  /**
   * Sends what the services left in the outboxes; what does not get out stays there. Of outboxes
   * that other processes read as well, only what is in hand is sent.
   */
  drainEgresses(withinMs: number): Promise<void>;
}

/** Throws `BAD_CONFIGURATION` naming each bad row. */
export function createShardRouting(options: ShardRoutingOptions): ShardRouting {
  const { settings, foreign = [], metrics, outbox } = options;
  const table = compileTopology(
    settings,
    new Map(foreign.map(({ name, topics, ingressTopics }) => [name, { topics, ingressTopics }])),
    settings.copiesNotices === true ? COPYING_TOPOLOGY : TOPOLOGY,
  );
  const router = new Router({
    table,
    outboxFramesMax: Math.ceil(settings.outboxFramesMax / settings.shards),
  });
  const shared = { ...options, router, rateShare: 1 / settings.shards, source: options.broker };
  const ingresses: Consumer[] = [];
  const egresses: Egress[] = [];
  let sampling: Timer | undefined;

  function sample(): void {
    for (const [broker, state] of wayStates(outbox?.lanes() ?? [], egresses)) {
      metrics.egress(broker, state);
    }
    sampling = options.environment.startTimer(SAMPLE_MS, sample);
  }

  return {
    store: routeStore(options.store, router),
    admit() {
      const admission = router.admission();
      if (admission !== "open") throw new ShopError("SATURATED", admission.reason, "later");
    },
    async start() {
      const onEvent = teller(options, UNMATCHED_GROUP);
      const unmatched = await startUnmatched({ ...shared, onEvent });
      ingresses.push(unmatched);
      for (const one of foreign) {
        const { egress, ingress } = await startForeign(shared, one);
        egresses.push(egress);
        if (ingress !== undefined) ingresses.push(ingress);
      }
      if (foreign.length > 0 || outbox !== undefined) sample();
      return [
        { group: UNMATCHED_GROUP, consumer: unmatched },
        ...egresses.map(({ name, consumer }) => ({ group: egressGroup(name), consumer })),
      ];
    },
    async drainIngresses(withinMs) {
      await Promise.all(ingresses.map((ingress) => ingress.drain(withinMs)));
    },
    async drainEgresses(withinMs) {
      sampling?.cancel();
      // Who else fills an outbox reads it too: waiting until it is empty would have no end.
      const isShared = outbox !== undefined;
      await Promise.all(
        egresses.map((egress) =>
          isShared ? egress.drain(withinMs) : sendOut(options.environment, egress, withinMs),
        ),
      );
    },
  };
}

interface Carrier extends ShardRoutingOptions {
  readonly router: Router;
  readonly rateShare: number;
  /** The local broker. */
  readonly source: Pick<Broker, "subscribe">;
}

/** The way out to a broker, and the way in from it if it has topics of ours. */
async function startForeign(
  carrier: Carrier,
  { name, broker, ingressTopics }: ForeignBroker,
): Promise<{ readonly egress: Egress; readonly ingress: Consumer | undefined }> {
  const egress = await startEgress({
    ...carrier,
    name,
    target: broker,
    onEvent: teller(carrier, egressGroup(name)),
    onCircuit: (state) => carrier.onLog("warning", `circuit of broker ${name} is ${state}`),
  });
  if (ingressTopics.length === 0) return { egress, ingress: undefined };
  const { partitions: _own, ...anywhere } = carrier;
  const onEvent = teller(carrier, `ingress.${name}`);
  const from = { ...anywhere, name, source: broker, topics: ingressTopics };
  return { egress, ingress: await startIngress({ ...from, onEvent }) };
}

function teller(
  { metrics, burials }: Pick<ShardRoutingOptions, "metrics" | "burials">,
  group: string,
) {
  return (event: ConsumerEvent): void => {
    metrics.consumed(group, event);
    if (event.kind === "buried") burials.buried(group, event);
  };
}

/** What was committed last may still be on its way to us, and a drain takes nothing new. */
async function sendOut(environment: Environment, egress: Egress, withinMs: number): Promise<void> {
  const byMs = environment.monotonicMs() + withinMs;
  for (let empty = 0; empty < DRAIN_LOOKS && egress.state().circuit === "closed";) {
    const leftMs = byMs - environment.monotonicMs();
    if (leftMs <= 0) break;
    const { promise, resolve } = Promise.withResolvers<void>();
    environment.startTimer(Math.min(DRAIN_LOOK_MS, leftMs), resolve);
    await promise;
    empty = egress.state().depth === 0 ? empty + 1 : 0;
  }
  await egress.drain(Math.max(0, byMs - environment.monotonicMs()));
}
