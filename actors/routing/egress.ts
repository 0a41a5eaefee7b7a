/**
 * Sends what waits in the outbox of one broker: its own cursor, its own circuit, its own pace.
 *
 * The outbox is a local topic that units of work append to; a consumer group of its own reads it,
 * so a broker that is down keeps its frames waiting and holds up nobody else's. Frames of one key
 * leave in order, each once the one before is confirmed. What may have arrived is sent again under
 * the same message id. Refused by the broker for good: to the dead letters. A topic there that
 * takes nothing has none of the others sent twice, but the circuit is one for the broker: when
 * nothing else is sent beside its frames it opens, and the others wait or fail over with them.
 */

import type { ActorRef } from "../../runtime/actors/actor.ts";
import type { ActorSystem } from "../../runtime/actors/actor-system.ts";
import type { Environment } from "../../runtime/environment.ts";
import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { Broker, Outgoing } from "../brokers/broker.ts";
import type { Breaker, CircuitBreakerSettings, CircuitStateName } from "../delivery/breaker.ts";
import type { Consumer } from "../delivery/consumer.ts";
import type { ConsumerEvent } from "../delivery/consumer-event.ts";
import type { DeliveryPolicy } from "../delivery/delivery-policy.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { Store } from "../stores/unit-of-work.ts";
import type { EgressMessage } from "./egress-actor.ts";
import type { Passage, PassHandler } from "./passage.ts";
import type { Copy } from "./route-table.ts";
import type { Remote, Router } from "./router.ts";

import { isShopError, ShopError } from "../../runtime/errors.ts";
import { decodeFrame } from "../../runtime/frames/frame.ts";
import { createBreaker } from "../delivery/breaker.ts";
import { startConsumer } from "../delivery/consumer.ts";
import { DELIVERY_POLICY } from "../delivery/delivery-policy.ts";
import { ACK, outcomeOfFailure } from "../delivery/outcome.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { egressActor, givenBack } from "./egress-actor.ts";
import { OutboxGauge } from "./outbox-gauge.ts";
import { FrameView, priorityOf } from "./route-view.ts";
import { finalTopicOf, outboxTopic, outgoingOf, rowNameOf, unwrapped } from "./routed-frame.ts";
import { countRemote } from "./router.ts";
import { egressChain } from "./router-chain.ts";

export interface EgressSettings {
  /** Frames of one publication. */
  readonly batchMax: number;
  readonly breaker: CircuitBreakerSettings;
  /** How long the circuit has not been closed before frames go to their failover. */
  readonly failoverAfterMs: number;
}

/** A publication that is not confirmed by then has failed, as far as anybody here can know. */
const PUBLISH_TIMEOUT_MS = 5_000;

export const EGRESS_SETTINGS: EgressSettings = {
  batchMax: 256,
  breaker: { failuresToOpen: 5, clearIntervalMs: 60_000, halfOpenAfterMs: 5_000, trialsMax: 3 },
  failoverAfterMs: 30_000,
};

export interface EgressOptions {
  /** The target broker's name in the routes. */
  readonly name: string;
  /** The local broker, which has the outbox. */
  readonly source: Pick<Broker, "subscribe">;
  readonly target: Pick<Broker, "publish">;
  readonly router: Router;
  /** For frames that go to their failover: acknowledges deliveries of `source`. */
  readonly store: Store;
  readonly system: ActorSystem;
  readonly environment: Environment;
  readonly partitions?: readonly number[];
  readonly settings?: EgressSettings;
  readonly policy?: DeliveryPolicy;
  /** This shard's part of each route's rate; absent: all of it. */
  readonly rateShare?: number;
  /** Frames in the outbox already, in this shard's partitions. */
  readonly depthAtStart?: number;
  readonly onEvent?: (event: ConsumerEvent) => void;
  /** For the log and the metrics. Must not throw. */
  readonly onCircuit?: (state: CircuitStateName, changes: number) => void;
  readonly onFailure?: (error: unknown) => void;
}

export interface EgressState {
  readonly circuit: CircuitStateName;
  /** Frames that wait for this broker, in this shard. */
  readonly depth: number;
  /** Of the frames in hand. */
  readonly oldestAgeMs: number;
  /** Frames the broker has confirmed, and frames of publications that failed. */
  readonly published: number;
  readonly failed: number;
  /** Frames that went to their failover. */
  readonly failedOver: number;
}

export interface Egress {
  readonly name: string;
  /** Of the outbox: for its counters and its books. */
  readonly consumer: Consumer;
  state(): EgressState;
  drain(withinMs: number): Promise<void>;
  close(): Promise<void>;
}

interface Counts {
  published: number;
  failed: number;
  failedOver: number;
}

/** The consumer group that takes what waits for `broker`. */
export function egressGroup(broker: string): string {
  return `egress.${broker}`;
}

/** Joins the outbox's group. Rejects when the local broker refuses the subscription. */
export async function startEgress(options: EgressOptions): Promise<Egress> {
  const { name, environment, router, system, settings = EGRESS_SETTINGS } = options;
  const gauge = new OutboxGauge(options.source, options.depthAtStart ?? 0);
  const counts: Counts = { published: 0, failed: 0, failedOver: 0 };
  let isClosing = false;
  const breaker = createBreaker({
    environment,
    settings: settings.breaker,
    isFailure: () => true,
    refusal: (why) => new ShopError("CIRCUIT_OPEN", `broker ${name}: ${why}`, "later"),
    ...(options.onCircuit === undefined ? {} : { onChange: options.onCircuit }),
  });
  const policy = options.policy ?? egressPolicy(router);
  const handledMax = Math.max(1, Math.floor(policy.creditFrames / 2));
  const actor = system.spawn(
    egressActor,
    {
      handle: wayOut(options, settings, breaker, gauge, counts),
      batchMax: settings.batchMax,
      ended() {
        if (isClosing) return;
        options.onFailure?.(new ShopError("CLOSED", `the egress of ${name} ended`, "later"));
      },
    },
    // All that the consumer can have with it at one time, and its own word.
    { name: `egress-${name}`, mailbox: { capacity: handledMax + 1 } },
  );
  const consumer = await startOutboxConsumer(options, gauge, policy, handledMax, actor);
  router.watch({
    broker: name,
    depth: () => gauge.depth(),
    appended: (frames) => gauge.appended(frames),
  });

  async function end(consumerEnds: Promise<void>): Promise<void> {
    isClosing = true;
    await consumerEnds;
    await system.stopActor(actor);
  }
  return {
    name,
    consumer,
    state: () => ({
      circuit: breaker.state(),
      depth: gauge.depth(),
      oldestAgeMs: gauge.oldestAgeMs(environment.nowMs()),
      ...counts,
    }),
    drain: (withinMs) => end(consumer.drain(withinMs)),
    close: () => end(consumer.close()),
  };
}

function wayOut(
  options: EgressOptions,
  settings: EgressSettings,
  breaker: Breaker,
  gauge: OutboxGauge,
  counts: Counts,
): PassHandler {
  return egressChain({
    environment: options.environment,
    breaker,
    rateShare: options.rateShare ?? 1,
    failoverAfterMs: settings.failoverAfterMs,
    publish: publisher(options, counts),
    async move(passages, copies) {
      await moveAll(options, passages, copies);
      for (const { message } of passages) gauge.settled(message.delivery);
      counts.failedOver += passages.length;
    },
  });
}

function startOutboxConsumer(
  options: EgressOptions,
  broker: Pick<Broker, "subscribe">,
  policy: DeliveryPolicy,
  concurrencyMax: number,
  actor: ActorRef<EgressMessage>,
): Promise<Consumer> {
  const { name, environment, router, partitions, onEvent, onFailure } = options;
  return startConsumer({
    broker,
    environment,
    group: egressGroup(name),
    topics: [outboxTopic(name)],
    ...(partitions === undefined ? {} : { partitions }),
    policy,
    decode: (frame) => copyOf(frame, name, router),
    handler: {
      kind: "single",
      concurrencyMax,
      handle: (message) =>
        new Promise<Outcome>((resolve) => {
          const told = actor.tell(jobOf(message, resolve));
          if (told !== "accepted") resolve(givenBack());
        }),
    },
    ...(onEvent === undefined ? {} : { onEvent }),
    ...(onFailure === undefined ? {} : { onFailure }),
  });
}

/** Attempts count only where a route says so, and must not be cut short by the deliveries. */
function egressPolicy(router: Router): DeliveryPolicy {
  const attempts = router.table.rows.map(({ policy }) => policy.retry?.attemptsMax ?? 0);
  return {
    ...DELIVERY_POLICY,
    deliveriesMax: 2 * Math.max(DELIVERY_POLICY.deliveriesMax, ...attempts),
  };
}

function jobOf(message: Message<Copy | string>, answer: (outcome: Outcome) => void): EgressMessage {
  const { body: copy, frame } = message;
  const routed = typeof copy === "string" ? undefined : copy;
  const passage: Passage = {
    message,
    rows: routed === undefined ? [] : [routed.row],
    copies: routed === undefined ? [] : [routed],
  };
  return { passage, lane: priorityOf(new FrameView("", frame)), answer };
}

/** The route by which a frame came here; only its topic when the table has that row no more. */
function copyOf(frame: Frame, broker: string, { table }: Router): Copy | string {
  const topic = finalTopicOf(frame);
  if (topic === undefined) {
    throw new ShopError("BAD_MESSAGE", "a frame in an outbox names no topic", "never");
  }
  const row = table.rowNamed(rowNameOf(frame) ?? "");
  if (row === undefined) return topic;
  const to = row.to.find((place) => place.broker === broker && place.topic === topic);
  return { row, to: to ?? { broker, topic } };
}

function publisher(options: EgressOptions, counts: Counts): PassHandler {
  async function publishAll(passages: readonly Passage[]): Promise<readonly Outcome[]> {
    try {
      await publishInTime(options, passages.map(outgoingOfPassage));
      counts.published += passages.length;
      return passages.map(() => ACK);
    } catch (error) {
      counts.failed += passages.length;
      if (!isFrameFault(error)) throw error;
      if (passages.length === 1) return [outcomeOfFailure(error)];
    }
    return await oneByOne(passages);
  }

  /** One of them is refused, and which is not known. */
  async function oneByOne(passages: readonly Passage[]): Promise<readonly Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const [at, passage] of passages.entries()) {
      try {
        outcomes.push(...(await publishAll([passage])));
      } catch (error) {
        // The broker fails now: those behind would only wait for it one after the other.
        const retry: Outcome = { kind: "retry", error, blameless: true };
        return [...outcomes, ...passages.slice(at).map(() => retry)];
      }
    }
    return outcomes;
  }

  /** One topic at a time may fail: what the others have confirmed is not sent again. */
  async function publishByTopic(passages: readonly Passage[]): Promise<readonly Outcome[]> {
    const shares = [
      ...Map.groupBy(passages, ({ message }) => finalTopicOf(message.frame)).values(),
    ];
    const results = await Promise.allSettled(shares.map(publishAll));
    const failures = results.filter((result) => result.status === "rejected");
    const error: unknown = failures[0]?.reason;
    if (failures.length === shares.length) throw error;
    const outcomes = new Map<Passage, Outcome>();
    for (const [at, share] of shares.entries()) {
      const result = results[at];
      for (const [index, passage] of share.entries()) {
        const own = result?.status === "fulfilled" ? result.value[index] : undefined;
        outcomes.set(passage, own ?? { kind: "retry", error, blameless: true });
      }
    }
    return passages.map((passage) => outcomes.get(passage) ?? givenBack());
  }

  return publishByTopic;
}

/**
 * A connection that is dead without having been closed answers nothing, and the batches behind
 * would wait for it for ever, with the circuit closed.
 */
async function publishInTime(
  { name, target, environment }: EgressOptions,
  frames: readonly Outgoing[],
): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = environment.startTimer(PUBLISH_TIMEOUT_MS, () => {
    const what = `broker ${name} confirmed nothing within ${PUBLISH_TIMEOUT_MS} ms`;
    reject(new ShopError("INDETERMINATE", what, "later"));
  });
  try {
    await Promise.race([target.publish(frames), late]);
  } finally {
    timer.cancel();
  }
}

/** True when the broker is well and will never take one of the frames. */
function isFrameFault(error: unknown): boolean {
  return isShopError(error, "BAD_FRAME", "PAYLOAD_TOO_LARGE", "UNKNOWN_TOPIC");
}

function outgoingOfPassage({ message: { frame } }: Passage): Outgoing {
  return { topic: finalTopicOf(frame) ?? "", frame: unwrapped(frame) };
}

async function moveAll(
  { router, store }: EgressOptions,
  passages: readonly Passage[],
  copies: readonly Copy[],
): Promise<void> {
  const outgoing: Outgoing[] = [];
  const remote: Remote = new Map();
  for (const [at, { message }] of passages.entries()) {
    const copy = copies[at];
    if (copy === undefined) continue;
    const bytes = unwrapped(message.frame);
    outgoing.push(outgoingOf(copy, bytes, decodeFrame(bytes)));
    countRemote(remote, copy);
  }
  await store.commit(
    { ...EMPTY_UNIT, outgoing },
    passages.map(({ message }) => message.delivery),
  );
  router.committed(remote);
}
