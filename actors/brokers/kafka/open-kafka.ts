/**
 * The broker port on Kafka with the client that the settings name, for the events of the shop.
 *
 * The one function that the shop calls. It refuses a cluster that cannot be used, at once and with
 * the setting that is wrong.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { Broker, ConnectionState } from "../broker.ts";
import type { EventTypes } from "./kafka-broker.ts";
import type { KafkaDriver } from "./kafka-driver.ts";
import type { KafkaSettings } from "./kafka-options.ts";

import { EVENTS } from "../../contracts/messages.ts";
import { openKafkaBroker } from "./kafka-broker.ts";
import { inspectKafka } from "./kafka-inspection.ts";
import { checkKafkaSettings } from "./kafka-options.ts";

export interface OpenKafkaOptions {
  readonly environment: Environment;
  readonly settings: KafkaSettings;
  readonly topics: readonly string[];
  readonly slots: number;
  readonly onConnection?: (state: ConnectionState) => void;
  readonly onLog?: (level: "debug" | "info" | "warning", text: string) => void;
}

/** The events of the shop, as Kafka's headers name them. */
export const SHOP_EVENT_TYPES: EventTypes = eventTypes();

/** Rejects within ten seconds with `SERVER_UNUSABLE` or `BAD_CONFIGURATION`. */
export async function openKafka(options: OpenKafkaOptions): Promise<Broker> {
  checkKafkaSettings(options.settings);
  const isWhole = await inspectKafka(options);
  const broker = await openKafkaBroker({
    ...options,
    driver: await driverOf(options),
    types: SHOP_EVENT_TYPES,
  });
  if (isWhole) return broker;
  try {
    // Who may make a topic may not always use it.
    await inspectKafka(options);
    return broker;
  } catch (error) {
    await broker.close();
    throw error;
  }
}

/** Only the client that is configured is loaded. */
async function driverOf({ environment, settings, onLog }: OpenKafkaOptions): Promise<KafkaDriver> {
  const options = { environment, settings, onLog: onLog ?? (() => undefined) };
  switch (settings.driver) {
    case "kafkajs": {
      const { KafkaJsDriver } = await import("./kafkajs-driver.ts");
      return new KafkaJsDriver(options);
    }
    case "platformatic": {
      const { PlatformaticDriver } = await import("./platformatic-driver.ts");
      return new PlatformaticDriver(options);
    }
  }
}

function eventTypes(): EventTypes {
  const names = new Map(EVENTS.map(({ number, type }) => [number, type]));
  const numbers = new Map<string, number>(EVENTS.map(({ number, type }) => [type, number]));
  return { nameOf: (number) => names.get(number), numberOf: (name) => numbers.get(name) };
}
