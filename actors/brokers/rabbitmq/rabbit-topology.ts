/**
 * Makes the exchanges and queues that the adapter needs, several at a time.
 *
 * All of it is durable and declaring it again changes nothing, so it is done on every connection.
 * What exists and is different is refused by the server, and told as such.
 */

import type { Channel, ChannelModel } from "amqplib";

import type { Environment } from "../../../runtime/environment.ts";
import type { RabbitNames, QueueSpec } from "./rabbit-names.ts";

import { isPassing } from "./rabbit-faults.ts";
import { closeChannel } from "./rabbit-link.ts";
import { DECLARATIONS_MAX } from "./rabbit-settings.ts";

/** Between two looks at a server whose queues are not there yet. */
const AGAIN_MS = 100;

/** Where to declare, and until when a server is waited for that has just come back. */
export interface Place {
  readonly environment: Environment;
  readonly model: ChannelModel;
  readonly untilMs: number;
}

type Declare = (channel: Channel) => Promise<unknown>;

/** Exchanges and dead letters of these topics, and the fence. True when some of it is new. */
export async function declareTopics(
  place: Place,
  names: RabbitNames,
  topics: readonly string[],
): Promise<boolean> {
  const burials = names.burialExchange;
  const isNew = await isAnyMissing(
    place,
    topics.map((topic) => names.deadLetterQueue(topic)),
  );
  await declareAll(place, [
    (channel) => channel.assertExchange(burials, "direct", { durable: true }),
    ...topics.map((topic): Declare => {
      return (channel) =>
        channel.assertExchange(names.topicExchange(topic), "direct", { durable: true });
    }),
    (channel) => assertQueue(channel, names.fenceQueue),
  ]);
  await declareAll(
    place,
    topics.map((topic): Declare => {
      return async (channel) => {
        await assertQueue(channel, names.deadLetterQueue(topic));
        await channel.bindQueue(names.deadLetterQueue(topic).name, burials, topic);
      };
    }),
  );
  return isNew;
}

/**
 * The queues of a group for these topics, and what it remembers and says among its members. True
 * when some of it is new.
 */
export async function declareGroup(
  place: Place,
  names: RabbitNames,
  group: string,
  topics: readonly string[],
  partitions: number,
): Promise<boolean> {
  const last = topics.map((topic) => names.partitionQueue(group, topic, partitions - 1));
  const isNew = await isAnyMissing(place, last);
  await declareAll(place, [
    (channel) => channel.assertExchange(names.membersExchange(group), "fanout", { durable: true }),
    (channel) => assertQueue(channel, names.memoryQueue(group)),
  ]);
  const queueOf = (topic: string, partition: number): Declare => {
    return async (channel) => {
      const queue = names.partitionQueue(group, topic, partition);
      await assertQueue(channel, queue);
      await channel.bindQueue(queue.name, names.topicExchange(topic), String(partition));
    };
  };
  const others = Array.from({ length: partitions - 1 }, (_, partition) => partition);
  await declareAll(
    place,
    topics.flatMap((topic) => others.map((partition) => queueOf(topic, partition))),
  );
  // Where it is there, so are all others.
  await declareAll(
    place,
    topics.map((topic) => queueOf(topic, partitions - 1)),
  );
  return isNew;
}

async function isAnyMissing(
  { environment, model }: Place,
  queues: readonly QueueSpec[],
): Promise<boolean> {
  for (const { name } of queues) {
    const channel = await model.createChannel();
    // What is missing ends the channel.
    channel.on("error", () => undefined);
    try {
      await channel.checkQueue(name);
      await closeChannel(environment, channel, name);
    } catch (error) {
      if (!isPassing(error)) return true;
    }
  }
  return false;
}

/** At most `DECLARATIONS_MAX` at a time, each on one of as many channels. */
async function declareAll(place: Place, declarations: readonly Declare[]): Promise<void> {
  const waiting = [...declarations];
  const failures: unknown[] = [];
  const work = async (): Promise<void> => {
    try {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        await declareOne(place, next, waiting);
      }
    } catch (error) {
      waiting.length = 0;
      failures.push(error);
    }
  };
  const workers = Math.min(DECLARATIONS_MAX, declarations.length);
  await Promise.all(Array.from({ length: workers }, work));
  if (failures.length > 0) throw failures[0];
}

/** `first` and then others on one channel, until there are none or the server closes it. */
async function declareOne(place: Place, first: Declare, waiting: Declare[]): Promise<void> {
  const { environment, model } = place;
  const channel = await model.createChannel();
  // The declaration that caused it rejects as well.
  channel.on("error", () => undefined);
  let current: Declare | undefined = first;
  try {
    for (; current !== undefined; current = waiting.shift()) await current(channel);
    await closeChannel(environment, channel, "declaring");
  } catch (error) {
    const isLate = environment.monotonicMs() >= place.untilMs;
    if (current === undefined || isLate || !isPassing(error)) throw error;
    waiting.push(current);
    await new Promise<void>((resolve) => void environment.startTimer(AGAIN_MS, resolve));
  }
}

async function assertQueue(channel: Channel, queue: QueueSpec): Promise<void> {
  await channel.assertQueue(queue.name, { durable: true, arguments: queue.arguments });
}
