/**
 * Brings frames in from another broker: each is routed and committed to the local log before it is
 * acknowledged there.
 *
 * All copies of a batch are one unit of work, so a fan-out is whole or not at all. Between that
 * commit and the acknowledgement a crash repeats the frame, under the same message id; where its
 * route asks for deduplication the unit leaves a mark in the inbox, and the repetition changes
 * nothing. What no route matches is buried as `unmatched`, and taken in if it is redriven once a
 * route does.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Broker, Outgoing } from "../brokers/broker.ts";
import type { Consumer } from "../delivery/consumer.ts";
import type { ConsumerEvent } from "../delivery/consumer-event.ts";
import type { DeliveryPolicy } from "../delivery/delivery-policy.ts";
import type { Message, Outcome } from "../delivery/outcome.ts";
import type { Decision } from "../delivery/committer.ts";
import type { InboxMark, Store } from "../stores/unit-of-work.ts";
import type { Passage, PassHandler } from "./passage.ts";
import type { Remote, Router } from "./router.ts";

import { decodeFrame, frameHeader, frameKeySlot } from "../../runtime/frames/frame.ts";
import { commitMessages } from "../delivery/committer.ts";
import { startConsumer } from "../delivery/consumer.ts";
import { DELIVERY_POLICY } from "../delivery/delivery-policy.ts";
import { ACK } from "../delivery/outcome.ts";
import { REDRIVEN_HEADER } from "../delivery/redrive.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { wantsDedup } from "./middleware/deduplication.ts";
import { LOCAL } from "./route-row.ts";
import { FrameView } from "./route-view.ts";
import { countRemote } from "./router.ts";
import { finalTopicOf, outgoingOf, UNMATCHED_TOPIC, unwrapped } from "./routed-frame.ts";
import { ingressChain } from "./router-chain.ts";

export interface IngressOptions {
  /** The source broker's name in the routes. */
  readonly name: string;
  readonly source: Pick<Broker, "subscribe">;
  readonly topics: readonly string[];
  readonly router: Router;
  /** The local store, which is also the local log. */
  readonly store: Store;
  readonly environment: Environment;
  /** Of the local topics: a frame's slot is found anew from its key. */
  readonly slots: number;
  readonly partitions?: readonly number[];
  /** Consumer group at the source; absent: `ingress.<name>`. */
  readonly group?: string;
  readonly from?: "earliest" | "latest";
  readonly policy?: DeliveryPolicy;
  /** Frames of one unit of work. */
  readonly batchMax?: number;
  /** This shard's part of each route's rate; absent: all of it. */
  readonly rateShare?: number;
  readonly onEvent?: (event: ConsumerEvent) => void;
  readonly onFailure?: (error: unknown) => void;
}

/** Takes the frames of local units that no route matched. */
export const UNMATCHED_GROUP = "unmatched";

const BATCH_MAX = 256;
/** Units on their way to the store at one time; keys never overlap. */
const UNITS_MAX = 2;

/** Joins the source's group. Rejects when the source refuses the subscription. */
export function startIngress(options: IngressOptions): Promise<Consumer> {
  const { name, environment, router, group = `ingress.${name}` } = options;
  // The local log acknowledges in the transaction of the unit, other brokers cannot.
  const isLocal = name === LOCAL;
  const routes = router.table.source(name);
  const handle = ingressChain({
    environment,
    rateShare: options.rateShare ?? 1,
    commit: committer(options, group, isLocal),
  });
  return startConsumer<Passage["copies"]>({
    broker: options.source,
    environment,
    group,
    topics: options.topics,
    ...(options.partitions === undefined ? {} : { partitions: options.partitions }),
    ...(options.from === undefined ? {} : { from: options.from }),
    policy: options.policy ?? DELIVERY_POLICY,
    decode: () => [],
    handler: {
      kind: "batch",
      concurrencyMax: UNITS_MAX,
      batchMax: options.batchMax ?? BATCH_MAX,
      handle: (messages) =>
        handle(
          messages.map((message): Passage => {
            const { delivery, frame } = message;
            const topic = (isLocal ? finalTopicOf(frame) : undefined) ?? delivery.topic;
            const { rows, copies } =
              router.decideBy(routes, topic, frame.type) ??
              router.decide(routes, new FrameView(topic, frame));
            return { message, rows, copies };
          }),
        ),
    },
    ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
    ...(options.onFailure === undefined ? {} : { onFailure: options.onFailure }),
  });
}

/**
 * Takes the frames of local units that no route matched. They are buried from here, since a unit
 * that is being committed has no delivery to bury.
 */
export function startUnmatched(
  options: Omit<IngressOptions, "name" | "topics" | "group">,
): Promise<Consumer> {
  return startIngress({
    ...options,
    name: LOCAL,
    topics: [UNMATCHED_TOPIC],
    group: UNMATCHED_GROUP,
  });
}

function committer(options: IngressOptions, group: string, isLocal: boolean): PassHandler {
  const { router, slots, store } = options;
  const target: Store = isLocal
    ? store
    : {
        acknowledges: false,
        load: (table, keys) => store.load(table, keys),
        commit: (unit) => store.commit(unit, []),
      };

  return async (passages) => {
    const messages = passages.map(({ message }) => message);
    const { result, outcomes } = await commitMessages(target, messages, async (fresh) => {
      if (fresh.length === messages.length) return unitOf(passages);
      const left = new Set(fresh);
      return unitOf(passages.filter(({ message }) => left.has(message)));
    });
    if (result !== undefined) router.committed(result);
    // The source has yet to be told, unless the commit did.
    return isLocal ? outcomes : outcomes.map((): Outcome => ACK);
  };

  function unitOf(passages: readonly Passage[]): Decision<Remote> {
    const outgoing: Outgoing[] = [];
    const inbox: InboxMark[] = [];
    const remote: Remote = new Map();
    for (const passage of passages) {
      const { message, copies } = passage;
      if (wantsDedup(passage)) inbox.push({ group, messageId: message.frame.id });
      const { bytes, frame } = contentOf(message);
      const slot = frameKeySlot(bytes, slots);
      for (const copy of copies) {
        outgoing.push(outgoingOf(copy, bytes, frame, slot));
        countRemote(remote, copy);
      }
    }
    return { unit: { ...EMPTY_UNIT, outgoing, inbox }, result: remote };
  }

  /** Without what was written for the way here, if that was our own doing. */
  function contentOf({ frame, delivery }: Message<unknown>) {
    const isOurs = isLocal && finalTopicOf(frame) !== undefined;
    if (!isOurs && frameHeader(delivery.bytes, REDRIVEN_HEADER) === undefined) {
      return { frame, bytes: delivery.bytes };
    }
    const bytes = unwrapped(frame);
    return { bytes, frame: decodeFrame(bytes) };
  }
}
