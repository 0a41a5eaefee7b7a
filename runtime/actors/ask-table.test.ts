/**
 * Questions and their deadlines: every one is settled once, and the table is empty in the end.
 *
 * Time is virtual, so deadlines are exact.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import { isShopError } from "../errors.ts";
import { createVirtualEnvironment } from "../virtual-environment.ts";

import { defineActor } from "./actor.ts";
import type { Recipient } from "./actor.ts";
import { ASK_TIMERS_IDLE_MAX } from "./actor-limits.ts";
import { createProbedSystem } from "./actor-probe.suite.ts";
import { AskTable } from "./ask-table.ts";
import { UndeliveredLog } from "./undelivered.ts";

interface Question {
  readonly value: number;
  readonly replyTo: Recipient<number>;
}

/** Answers even values at once; keeps the askers of odd ones in `unanswered`. */
function oracle(unanswered: Recipient<number>[]) {
  return defineActor<Question>({
    type: "oracle",
    mailbox: { capacity: 20_000 },
    setup: () => ({
      receive({ value, replyTo }) {
        if (value % 2 === 0) replyTo.tell(value * 10);
        else unanswered.push(replyTo);
      },
    }),
  });
}

describe("A26: ask", () => {
  test("A26: of 10,000 asks half get no answer: typed timeouts, an empty table", async () => {
    const probed = createProbedSystem();
    const unanswered: Recipient<number>[] = [];
    const ref = probed.system.spawn(oracle(unanswered), undefined, { name: "oracle" });
    const outcomes = Array.from({ length: 10_000 }, (_, value) =>
      ref
        .ask<number>((replyTo) => ({ value, replyTo }), { deadlineMs: 200 })
        .then(
          (reply) => reply,
          (error: unknown) => error,
        ),
    );
    expect(probed.system.stats().asksPending).toBe(10_000);
    await probed.environment.advance(199);
    expect(probed.system.stats().asksPending).toBe(5_000);
    await probed.environment.advance(1);
    expect(probed.system.stats().asksPending).toBe(0);
    expect(probed.environment.pendingTimers()).toBe(0);
    const settled = await Promise.all(outcomes);
    for (const [value, outcome] of settled.entries()) {
      if (value % 2 === 0) expect(outcome).toBe(value * 10);
      else expect(isShopError(outcome, "ASK_TIMEOUT")).toBe(true);
    }
    expect(String(settled[1])).toContain("test/oracle did not answer within 200 ms");
    for (const asker of unanswered) expect(asker.tell(1)).toBe("stopped");
    expect(probed.system.stats().deadLetters.late_reply).toBe(5_000);
  });

  test("A26: a second answer is dropped and counted", async () => {
    const probed = createProbedSystem();
    const twice = defineActor<Question>({
      type: "twice",
      setup: () => ({
        receive({ value, replyTo }) {
          replyTo.tell(value);
          replyTo.tell(value + 1);
        },
      }),
    });
    const ref = probed.system.spawn(twice, undefined);
    const reply = ref.ask<number>((replyTo) => ({ value: 1, replyTo }), { deadlineMs: 10 });
    await probed.settle();
    expect(await reply).toBe(1);
    expect(probed.system.stats().deadLetters.late_reply).toBe(1);
  });

  test("A26: the table is bounded: one ask too many is refused at once", async () => {
    const probed = createProbedSystem({ asksPendingMax: 2 });
    const ref = probed.system.spawn(oracle([]), undefined);
    const ask = () => ref.ask<number>((replyTo) => ({ value: 1, replyTo }), { deadlineMs: 10 });
    const first = [ask(), ask()].map((asked) => asked.catch((error: unknown) => error));
    expect(await ask().catch((error: unknown) => error)).toMatchObject({ code: "SATURATED" });
    await probed.environment.advance(10);
    await Promise.all(first);
    expect(probed.system.stats().asksPending).toBe(0);
  });

  test("A26: what distinct deadlines cost is bounded, and gone when they have passed", async () => {
    const environment = createVirtualEnvironment();
    const table = new AskTable(environment, new UndeliveredLog(undefined), 10_000);
    const echo: Recipient<Recipient<string>> = {
      path: "echo",
      tell: (replyTo) => replyTo.tell("here"),
    };
    for (let deadlineMs = 1; deadlineMs <= 5_000; deadlineMs++) {
      expect(await table.ask<Recipient<string>, string>(echo, (to) => to, deadlineMs)).toBe("here");
    }
    expect(table.deadlines).toBeLessThanOrEqual(ASK_TIMERS_IDLE_MAX);
    expect(environment.pendingTimers()).toBe(table.deadlines);
    await environment.advance(5_000);
    expect(table.deadlines).toBe(0);
    expect(environment.pendingTimers()).toBe(0);
  });

  test("an actor that has ended, a full mailbox and a closed system are told apart", async () => {
    const probed = createProbedSystem();
    const gone = probed.system.spawn(oracle([]), undefined);
    const mailbox = { capacity: 1 };
    const full = probed.system.spawn(oracle([]), undefined, { mailbox });
    const codeOf = (ref: typeof gone) =>
      ref
        .ask<number>((replyTo) => ({ value: 1, replyTo }), { deadlineMs: 10 })
        .catch((error: unknown) => error);
    const stopped = probed.system.stopActor(gone);
    await probed.settle();
    await stopped;
    expect(await codeOf(gone)).toMatchObject({ code: "CLOSED" });
    const waiting = codeOf(full);
    expect(await codeOf(full)).toMatchObject({ code: "MAILBOX_FULL" });
    const closing = probed.system.stop();
    expect(await waiting).toMatchObject({ code: "CLOSED" });
    await probed.settle();
    await closing;
    expect(await codeOf(full)).toMatchObject({ code: "CLOSED" });
    expect(probed.environment.pendingTimers()).toBe(0);
  });

  test("a message that cannot be made rejects the ask and leaves nothing behind", async () => {
    const probed = createProbedSystem();
    const ref = probed.system.spawn(oracle([]), undefined);
    const asked = ref.ask<number>(
      () => {
        throw new TypeError("no message");
      },
      { deadlineMs: 10 },
    );
    const outcome = await asked.catch((error: unknown) => error);
    expect(outcome).toMatchObject({ message: "no message" });
    expect(probed.system.stats().asksPending).toBe(0);
  });

  test("any mix of deadlines and answers: each settles at its time, none is left", async () => {
    const plan = fc.record({
      atMs: fc.integer({ min: 0, max: 50 }),
      deadlineMs: fc.integer({ min: 0, max: 44 }).map((half) => 2 * half + 1),
      // Deadlines are odd and answers even, so that none is due at the very deadline.
      answerMs: fc.option(
        fc.integer({ min: 0, max: 45 }).map((half) => 2 * half),
        { nil: undefined },
      ),
    });
    const property = fc.asyncProperty(fc.array(plan, { maxLength: 100 }), async (plans) => {
      const probed = createProbedSystem();
      const { environment, system } = probed;
      const answering = defineActor<{ afterMs: number | undefined; replyTo: Recipient<string> }>({
        type: "answering",
        setup: () => ({
          receive({ afterMs, replyTo }) {
            if (afterMs === undefined) return;
            environment.startTimer(afterMs, () => void replyTo.tell("answer"));
          },
        }),
      });
      const ref = system.spawn(answering, undefined);
      const outcomes = plans.map(() => "none");
      for (const [index, { atMs, deadlineMs, answerMs }] of plans.entries()) {
        environment.startTimer(atMs, () => {
          const make = (replyTo: Recipient<string>) => ({ afterMs: answerMs, replyTo });
          void ref.ask(make, { deadlineMs }).then(
            (reply) => (outcomes[index] = `${reply} at ${environment.monotonicMs()}`),
            () => (outcomes[index] = `timeout at ${environment.monotonicMs()}`),
          );
        });
      }
      await environment.advance(200);
      const expected = plans.map(({ atMs, deadlineMs, answerMs }) =>
        answerMs !== undefined && answerMs < deadlineMs
          ? `answer at ${atMs + answerMs}`
          : `timeout at ${atMs + deadlineMs}`,
      );
      expect(outcomes).toEqual(expected);
      expect(system.stats().asksPending).toBe(0);
      expect(environment.pendingTimers()).toBe(0);
    });
    await fc.assert(property, { numRuns: 20 });
  });
});
