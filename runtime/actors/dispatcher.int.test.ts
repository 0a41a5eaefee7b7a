/**
 * Fairness against the real clock: ten actors that never rest, and one that waits for a message.
 *
 * Deadlines are those of the conformance case, with the median of several messages as the judge,
 * because a noisy machine can delay any single one.
 */

import { describe, expect, test } from "bun:test";

import { systemEnvironment } from "../system-environment.ts";

import { defineActor } from "./actor.ts";
import type { Recipient } from "./actor.ts";
import { createActorSystem } from "./actor-system.ts";

describe("A27: ten hot actors and one idle one", () => {
  test("A27: the idle one answers within 50 ms and timers fire on time", async () => {
    const system = createActorSystem(systemEnvironment, {
      name: "fair",
      onFailure: (failure) => expect(failure).toBeUndefined(),
    });
    let hot = true;
    const busy = defineActor<number>({
      type: "busy",
      setup: (_init, context) => {
        for (let index = 0; index < 100; index++) context.self.tell(index);
        return {
          receive(message) {
            if (hot) context.self.tell(message);
          },
        };
      },
    });
    const echo = defineActor<Recipient<string>>({
      type: "echo",
      setup: () => ({ receive: (replyTo) => void replyTo.tell("here") }),
    });
    for (let index = 0; index < 10; index++) system.spawn(busy, undefined);
    const idle = system.spawn(echo, undefined);
    const answersMs: number[] = [];
    const latenessMs: number[] = [];
    for (let round = 0; round < 21; round++) {
      const sentMs = performance.now();
      await idle.ask<string>((replyTo) => replyTo, { deadlineMs: 30_000 });
      const answeredMs = performance.now();
      answersMs.push(answeredMs - sentMs);
      await new Promise((resolve) => setTimeout(resolve, 5));
      latenessMs.push(performance.now() - answeredMs - 5);
    }
    hot = false;
    await system.stop();
    expect(median(answersMs)).toBeLessThan(50);
    expect(median(latenessMs)).toBeLessThan(50);
  }, 60_000);
});

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[values.length >> 1] ?? Number.NaN;
}
