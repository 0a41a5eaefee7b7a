/**
 * Looks at a server once, before it is used: there, willing, new enough, with the rights needed.
 *
 * Uses a connection of its own and leaves an exchange and nothing else behind. Refuses with
 * `SERVER_UNUSABLE`, in the words of the setting that would put it right.
 */

import type { ChannelModel } from "amqplib";

import { connect } from "amqplib";

import type { Environment } from "../../../runtime/environment.ts";
import type { RabbitAddress } from "./rabbit-faults.ts";
import type { RabbitNames } from "./rabbit-names.ts";
import type { RabbitSettings } from "./rabbit-settings.ts";

import { isShopError } from "../../../runtime/errors.ts";
import { describeRabbitFault, unusable, versionFault } from "./rabbit-faults.ts";
import { within } from "./rabbit-link.ts";
import { OPEN_TIMEOUT_MS } from "./rabbit-settings.ts";

const CONNECT_TIMEOUT_MS = 5_000;
const NOBODY = "nobody";

export interface Inspection {
  readonly environment: Environment;
  readonly settings: RabbitSettings;
  readonly address: RabbitAddress;
  readonly names: RabbitNames;
  readonly topics: readonly string[];
}

export async function inspectServer(inspection: Inspection): Promise<void> {
  const { address, environment, settings } = inspection;
  let model: ChannelModel | undefined;
  try {
    const connecting = connect(settings.url, { timeout: CONNECT_TIMEOUT_MS, noDelay: true });
    model = await within(environment, connecting, CONNECT_TIMEOUT_MS, "connecting");
    model.on("error", () => undefined); // what it was doing rejects as well
    checkVersion(model);
    await within(environment, tryOut(model, inspection), OPEN_TIMEOUT_MS / 2, "first exchange");
  } catch (error) {
    if (isShopError(error) && error.retry === "never") throw error;
    throw unusable(describeRabbitFault(error, address), error);
  } finally {
    // Gone already, where it was refused.
    await model?.close().catch(() => undefined);
  }
}

function checkVersion(model: ChannelModel): void {
  const { product, version } = model.connection.serverProperties;
  const fault = versionFault(product, version);
  if (fault !== undefined) throw unusable(fault);
}

/** Makes the exchange of each topic and writes to it what no queue takes. */
async function tryOut(model: ChannelModel, { names, topics }: Inspection): Promise<void> {
  const channel = await model.createConfirmChannel();
  const failing = Promise.withResolvers<never>();
  channel.on("error", failing.reject);
  failing.promise.catch(() => undefined); // nobody may be waiting any more
  const writing = async (): Promise<void> => {
    for (const topic of topics) {
      const exchange = names.topicExchange(topic);
      await channel.assertExchange(exchange, "direct", { durable: true });
      channel.publish(exchange, NOBODY, Buffer.alloc(0));
    }
    // A server that is short of disk answers nothing here and says so when frames are published.
    if (topics.length > 0)
      await channel.assertExchange(names.topicExchange(topics[0] ?? ""), "direct");
  };
  await Promise.race([writing(), failing.promise]);
  await channel.close();
}
