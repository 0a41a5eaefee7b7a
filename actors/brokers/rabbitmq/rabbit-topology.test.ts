/**
 * Declaring on channels whose close is never answered: nobody waits for that for ever.
 *
 * The channels are fakes that agree to everything; time is virtual.
 */

import { expect, test } from "bun:test";

import type { ChannelModel } from "amqplib";

import { createVirtualEnvironment } from "../../../runtime/virtual-environment.ts";
import { RabbitNames } from "./rabbit-names.ts";
import { ANSWER_TIMEOUT_MS, RABBIT_SETTINGS } from "./rabbit-settings.ts";
import { declareTopics } from "./rabbit-topology.ts";

const agree = async (): Promise<void> => undefined;

test("a channel whose close is not answered does not hold the declarations up", async () => {
  const environment = createVirtualEnvironment();
  let closing = 0;
  const channel = {
    on: () => undefined,
    checkQueue: agree,
    assertExchange: agree,
    assertQueue: agree,
    bindQueue: agree,
    close: () => {
      closing++;
      return Promise.withResolvers<void>().promise;
    },
  };
  const model = { createChannel: async () => channel };
  const place = {
    environment,
    // Of a connection it uses this.
    model: model as unknown as ChannelModel,
    untilMs: 0,
  };
  let isNew: boolean | undefined;
  void declareTopics(place, new RabbitNames(RABBIT_SETTINGS), ["t"]).then(
    (answer) => (isNew = answer),
  );
  await environment.advance(ANSWER_TIMEOUT_MS);
  // Of the look whether anything is missing; then of what is declared, in two steps.
  const first = closing;
  await environment.advance(2 * ANSWER_TIMEOUT_MS);
  expect([first > 0, isNew]).toEqual([true, false]);
});
