/**
 * A member of a group whose own connection is there and whose publisher's is not, on a real server:
 * others cannot hear it, so it must not have anything, unless nobody can be heard.
 *
 * Only the publisher of that member goes through the proxy.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import type { TestServer } from "../../../deploy/services/test-server.ts";
import type { SubscribeOptions } from "../broker.ts";
import type { RabbitBroker } from "./rabbit-broker.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { assert } from "../../../runtime/errors.ts";
import { encodeFrame } from "../../../runtime/frames/frame.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { TcpProxy } from "../../testing/tcp-proxy.fixture.ts";
import { DeadLetterQueue } from "./dead-letter-queue.ts";
import { openRabbitBroker } from "./rabbit-broker.ts";
import { RabbitMember } from "./rabbit-member.ts";
import { RabbitNames } from "./rabbit-names.ts";
import { RabbitPublisher } from "./rabbit-publisher.ts";
import { setServerFull, startRabbit } from "./rabbit-server.fixture.ts";
import { RABBIT_SETTINGS } from "./rabbit-settings.ts";

const START_TIMEOUT_MS = 120_000;
const PATIENCE_MS = 30_000;
const NOWHERE = "";
const PARTITIONS = 2;

const settingsAt = (address: string): RabbitSettings => ({
  ...RABBIT_SETTINGS,
  groups: { t: ["g"] },
  url: `amqp://guest:guest@${address}`,
});

async function eventually(what: string, holds: () => boolean): Promise<void> {
  const startMs = environment.monotonicMs();
  while (!holds()) {
    assert(environment.monotonicMs() - startMs < PATIENCE_MS, `in vain until ${what}`);
    await Bun.sleep(10);
  }
}

/** Who has which partitions, as subscribers are told. */
class Owners {
  readonly taken: string[] = [];
  /** Taken while another had them. */
  readonly twice: string[] = [];
  readonly #by = new Map<number, string>();

  subscribing(name: string): SubscribeOptions {
    return {
      group: "g",
      topics: ["t"],
      from: "earliest",
      creditFrames: 10,
      creditBytes: 1_000_000,
      leaseMs: 60_000,
      onDeliveries: () => undefined,
      onAssigned: async (_topic, partitions) => {
        for (const partition of partitions) this.#take(partition, name);
      },
      onRevoking: async () => true,
      onRevoked: (_topic, partitions) => {
        for (const partition of partitions) {
          if (this.#by.get(partition) === name) this.#by.delete(partition);
        }
      },
    };
  }

  #take(partition: number, name: string): void {
    const owner = this.#by.get(partition);
    if (owner !== undefined) this.twice.push(`${partition} of ${owner} by ${name}`);
    this.#by.set(partition, name);
    this.taken.push(`${partition} by ${name}`);
  }
}

function openBroker({ address }: TestServer): Promise<RabbitBroker> {
  const settings = settingsAt(address);
  return openRabbitBroker({ environment, settings, topics: ["t"], partitions: PARTITIONS });
}

/** One to every partition. */
async function publishFrames(broker: RabbitBroker): Promise<void> {
  const timeMs = environment.nowMs();
  const payload = new Uint8Array(1);
  for (const slot of [0, 1]) {
    const id = environment.newId();
    const frame = encodeFrame({ type: 1, slot, key: "k", payload, id, timeMs });
    await broker.publish([{ topic: "t", frame }]);
  }
}

/** A member whose publisher publishes through `proxy`. */
async function createMember(server: TestServer, proxy: TcpProxy, subscribe: SubscribeOptions) {
  const settings = settingsAt(server.address);
  const names = new RabbitNames(settings);
  const onLog = (): void => undefined;
  const publisher = new RabbitPublisher({
    environment,
    settings: settingsAt(proxy.address),
    names,
    topics: ["t"],
    partitions: PARTITIONS,
    name: "mute publisher",
    onConnection: () => undefined,
    onLog,
  });
  await publisher.open();
  const member = new RabbitMember({
    environment,
    settings,
    names,
    partitions: PARTITIONS,
    publisher,
    deadLetters: new DeadLetterQueue(environment, publisher, names),
    subscribe,
    onClosed: () => undefined,
    onLog,
  });
  return { publisher, member };
}

const missing = whyMissing("rabbitmq");

describe.skipIf(!requireOrSkip("rabbitmq", missing === undefined, missing ?? ""))("mute", () => {
  let server: TestServer;
  let proxy: TcpProxy;
  beforeAll(async () => {
    server = await startRabbit();
    proxy = await TcpProxy.listen(environment);
  }, START_TIMEOUT_MS);
  afterAll(async () => {
    await proxy.close();
    await server.dispose();
  });

  test(
    "a member that others cannot hear has nothing, and gets its share when they can",
    async () => {
      proxy.forwardTo(server.address);
      const owners = new Owners();
      const mute = await createMember(server, proxy, owners.subscribing("mute"));
      const broker = await openBroker(server);
      await publishFrames(broker);
      proxy.forwardTo(NOWHERE);
      proxy.cut();
      await eventually("its publisher is away", () => !mute.publisher.isUp);
      await mute.member.open();
      const other = await broker.subscribe(owners.subscribing("other"));
      await eventually("the other has all", () => {
        return ["0 by other", "1 by other"].every((taken) => owners.taken.includes(taken));
      });
      expect(owners.taken).toHaveLength(PARTITIONS);
      proxy.forwardTo(server.address);
      await eventually("it has its share", () => owners.taken.length > PARTITIONS);
      expect([owners.taken.length, owners.twice]).toEqual([PARTITIONS + 1, []]);
      await Promise.all([mute.member.close(), other.close(false)]);
      await mute.publisher.close();
      await broker.close();
    },
    START_TIMEOUT_MS,
  );

  test(
    "a member joins while the server is full and takes nothing of anybody",
    async () => {
      const broker = await openBroker(server);
      await publishFrames(broker);
      await setServerFull(server, true);
      const owners = new Owners();
      await broker.subscribe(owners.subscribing("reader"));
      await eventually("it has all", () => owners.taken.length === PARTITIONS);
      await setServerFull(server, false);
      await broker.close();
    },
    START_TIMEOUT_MS,
  );
});
