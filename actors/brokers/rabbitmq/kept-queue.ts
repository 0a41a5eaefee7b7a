/**
 * A queue that is kept for being read, again and again, without anything being taken out of it.
 *
 * Whoever reads takes all there is, up to a mark of its own, and closes the channel, which puts
 * everything back in its order; the single active consumer has the next reader wait meanwhile.
 * While the server takes no messages, and so no mark, the end is where nothing more comes for a
 * while. Refuses to wait for ever: a reading that gets no further is `STORAGE_FAULT`.
 */

import type { Channel, ConsumeMessage } from "amqplib";

import type { Environment } from "../../../runtime/environment.ts";
import type { RabbitPublisher } from "./rabbit-publisher.ts";

import { ShopError } from "../../../runtime/errors.ts";
import { closeChannel } from "./rabbit-link.ts";
import { KEPT_MESSAGES_MAX } from "./rabbit-settings.ts";

const READ_TIMEOUT_MS = 10_000;
const QUIET_MS = 500;
/** A mark whose reader has died is taken out by the next after so long. */
const MARK_AGE_MAX_MS = 60_000;
const EMPTY = Buffer.alloc(0);

const MARK = "shopstream-mark";
const MARKED_AT = "shopstream-marked-at-ms";

export type Headers = Readonly<Record<string, unknown>>;

/** Uses the channel up. */
export async function readKept(
  environment: Environment,
  publisher: Pick<RabbitPublisher, "isBlocked" | "record">,
  channel: Channel,
  queue: string,
  look: (content: Buffer, headers: Headers) => void,
): Promise<void> {
  const mark = environment.newId();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => undefined); // the channel may close before it is waited for
  const late = new ShopError("STORAGE_FAULT", `rabbitmq: ${queue} cannot be read`, "later");
  const limit = environment.startTimer(READ_TIMEOUT_MS, () => reject(late));
  let quiet = publisher.isBlocked ? environment.startTimer(QUIET_MS, resolve) : undefined;
  let isOver = false;
  const take = (message: ConsumeMessage): void => {
    const headers: Headers = message.properties.headers ?? {};
    if (MARK in headers) {
      const isOurs = headers[MARK] === mark;
      if (isOurs || isOld(headers, environment.nowMs())) channel.ack(message);
      if (isOurs) resolve();
      return;
    }
    look(message.content, headers);
    if (quiet === undefined) return;
    quiet.cancel();
    quiet = environment.startTimer(QUIET_MS, resolve);
  };
  channel.on("close", () => reject(late));
  try {
    await channel.prefetch(KEPT_MESSAGES_MAX);
    await channel.consume(queue, (message) => {
      if (!isOver && message !== null) take(message);
    });
    if (quiet === undefined) {
      const headers = { [MARK]: mark, [MARKED_AT]: environment.nowMs() };
      publisher.record(queue, EMPTY, headers).catch(reject);
    }
    await promise;
  } finally {
    isOver = true;
    limit.cancel();
    quiet?.cancel();
    await closeChannel(environment, channel, queue);
  }
}

function isOld(headers: Headers, nowMs: number): boolean {
  const atMs = headers[MARKED_AT];
  return typeof atMs !== "number" || nowMs - atMs > MARK_AGE_MAX_MS;
}
