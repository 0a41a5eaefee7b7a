/**
 * What is told on a channel that goes away by itself: dropped, as nobody waits for it.
 *
 * The channel is a fake that throws what the test says.
 */

import { IllegalOperationError } from "amqplib";
import { expect, test } from "bun:test";

import { tell } from "./rabbit-link.ts";

test("what nobody waits for is dropped on a channel that closes by itself, and no fault is", () => {
  const told: string[] = [];
  const channelThat = (error?: Error): Parameters<typeof tell>[0] => ({
    publish: (_exchange, key) => {
      if (error !== undefined) throw error;
      return told.push(key) > 0;
    },
  });
  tell(channelThat(), "x", "a", Buffer.alloc(0));
  tell(channelThat(new IllegalOperationError("Channel closing")), "x", "b", Buffer.alloc(0));
  expect(told).toEqual(["a"]);
  const fault = new TypeError("Expected a buffer");
  expect(() => tell(channelThat(fault), "x", "c", Buffer.alloc(0))).toThrow(fault);
});
