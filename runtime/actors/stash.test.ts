/**
 * Messages set aside: order, bound, and what a failure in the middle of a replay leaves.
 *
 * The property runs a stash and a plain list side by side: nothing is lost, doubled or overtaken.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";

import { defineActor } from "./actor.ts";
import { createProbedSystem } from "./actor-probe.suite.ts";
import { Stash } from "./stash.ts";

describe("Stash", () => {
  test("gives back in arrival order whatever is set aside again during replays", () => {
    const step = fc.oneof(
      fc.constant<"hold" | "release">("hold"),
      fc.constant<"hold" | "release">("release"),
      fc.record({ again: fc.boolean() }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const stash = new Stash<number>(10);
        let inside: number[] = [];
        let next = 0;
        for (const action of steps) {
          if (action === "release") stash.release();
          else if (action === "hold") {
            // Only a message of the mailbox is new; it is taken when nothing is being replayed.
            if (stash.replaySize > 0) continue;
            const message = next++;
            if (stash.hold(message)) inside.push(message);
            else expect(inside).toHaveLength(10);
          } else if (stash.replaySize > 0) {
            const message = stash.next();
            if (action.again) expect(stash.hold(message)).toBe(true);
            else inside = inside.filter((kept) => kept !== message);
          }
          expect(stash.size).toBe(inside.length);
        }
        expect(stash.takeAll()).toEqual(inside);
        expect(stash.size).toBe(0);
      }),
    );
  });
});

describe("stash and unstashAll", () => {
  const opening = (handled: string[]) =>
    defineActor<string>({
      type: "opening",
      mailbox: { stashCapacity: 3 },
      setup: (_init, context) => {
        let open = false;
        return {
          receive(message) {
            if (message === "open") {
              open = true;
              context.unstashAll();
            } else if (open) handled.push(message);
            else context.stash(message);
          },
        };
      },
    });

  test("replays before newer messages and counts what does not fit", async () => {
    const { system, undelivered, settle } = createProbedSystem();
    const handled: string[] = [];
    const ref = system.spawn(opening(handled), undefined);
    for (const message of ["1", "2", "3", "4", "open", "5"]) ref.tell(message);
    await settle();
    expect(handled).toEqual(["1", "2", "3", "5"]);
    expect(undelivered).toEqual([{ reason: "stash_full", path: ref.path, message: "4" }]);
  });

  test("makes dead letters of what is still set aside when the actor ends", async () => {
    const { system, undelivered, settle } = createProbedSystem();
    const ref = system.spawn(opening([]), undefined);
    ref.tell("1");
    ref.tell("2");
    await settle();
    const stopped = system.stopActor(ref);
    await settle();
    await stopped;
    expect(undelivered.map((letter) => [letter.reason, letter.message])).toEqual([
      ["stopped", "1"],
      ["stopped", "2"],
    ]);
  });
});
