/**
 * How the conformance suite opens the adapter, in its own process and in those of members.
 *
 * A case has names of its own; the queues of the case before are deleted when the next begins, so
 * that a restart of the server does not take ever longer. Refuses what `openRabbitBroker` refuses.
 */

import { connect } from "amqplib";

import type { OpenBroker, RemoteOpen } from "../../testing/remote-rig.fixture.ts";
import type { Broker } from "../broker.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { openRabbitBroker } from "./rabbit-broker.ts";
import { RabbitNames } from "./rabbit-names.ts";
import { RABBIT_SETTINGS } from "./rabbit-settings.ts";

interface Case {
  readonly open: RemoteOpen;
  readonly groups: Set<string>;
}

let last: Case | undefined;

export const openBroker: OpenBroker = async (open) => {
  if (last !== undefined && last.open.prefix !== open.prefix) {
    await removeQueues(last);
    last = undefined;
  }
  const current = (last ??= { open, groups: new Set(open.groups) });
  const broker = await openRabbitBroker({
    environment: open.environment,
    settings: settingsOf(open),
    topics: open.topics,
    partitions: open.partitions,
  });
  return noting(broker, current.groups);
};

function settingsOf(open: RemoteOpen): RabbitSettings {
  return {
    ...RABBIT_SETTINGS,
    url: `amqp://guest:guest@${open.address}`,
    prefix: open.prefix,
    groups: Object.fromEntries(open.topics.map((topic) => [topic, open.groups])),
    publishTimeoutMs: open.publishTimeoutMs,
    heartbeatMs: open.sessionMs / 3,
    memberTimeoutMs: open.sessionMs,
  };
}

/** `broker`, and which groups it made queues for. */
function noting(broker: Broker, groups: Set<string>): Broker {
  return {
    capabilities: broker.capabilities,
    publish: (frames) => broker.publish(frames),
    subscribe: (options) => {
      groups.add(options.group);
      return broker.subscribe(options);
    },
    deadLetters: (topic, afterId, limit) => broker.deadLetters(topic, afterId, limit),
    close: () => broker.close(),
  };
}

async function removeQueues({ open, groups }: Case): Promise<void> {
  const names = new RabbitNames(settingsOf(open));
  const model = await connect(`amqp://guest:guest@${open.address}`);
  const queues = open.topics.flatMap((topic) => [
    names.deadLetterQueue(topic).name,
    ...[...groups].flatMap((group) =>
      Array.from({ length: open.partitions }, (_, partition) => {
        return names.partitionQueue(group, topic, partition).name;
      }),
    ),
  ]);
  queues.push(names.fenceQueue.name, ...[...groups].map((group) => names.memoryQueue(group).name));
  const worker = async (): Promise<void> => {
    const channel = await model.createChannel();
    channel.on("error", () => undefined);
    for (let name = queues.pop(); name !== undefined; name = queues.pop()) {
      await channel.deleteQueue(name);
    }
  };
  // What a server that has just come back cannot find yet stays behind; it is in nobody's way.
  await Promise.allSettled(Array.from({ length: 8 }, worker));
  await model.close();
}
