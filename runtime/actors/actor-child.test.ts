/**
 * Actors as children: the reference that outlives them, and what becomes of their messages.
 *
 * The specification is driven by hand where every step matters, by the real supervisor where the
 * two have to agree.
 */

import { describe, expect, test } from "bun:test";

import type { ChildSpec, Exit, RestartType, RunningChild } from "../supervision/child.ts";
import { startSupervisor } from "../supervision/supervisor.ts";

import { defineActor } from "./actor.ts";
import { actorChild } from "./actor-child.ts";
import { createGate, createProbedSystem } from "./actor-probe.suite.ts";
import type { ProbedSystem } from "./actor-probe.suite.ts";

interface Started {
  readonly child: RunningChild;
  readonly exits: Exit[];
}

async function start(probed: ProbedSystem, spec: ChildSpec): Promise<Started> {
  const exits: Exit[] = [];
  const starting = spec.start((exit) => void exits.push(exit));
  await probed.settle();
  return { child: await starting, exits };
}

/** Handles numbers; `fail` throws, `stop` ends in good order. */
function collector(handled: (string | number)[]) {
  return defineActor<string | number>({
    type: "collector",
    mailbox: { capacity: 10 },
    setup: (_init, context) => ({
      receive(message) {
        handled.push(message);
        if (message === "fail") throw new TypeError("asked to");
        if (message === "stop") context.stop();
      },
    }),
  });
}

function makeChild(probed: ProbedSystem, restart: RestartType, handled: (string | number)[]) {
  const options = { id: "child", restart, shutdown: 1_000 };
  return actorChild(probed.system, collector(handled), undefined, options);
}

describe("messages around a restart", () => {
  test("A16: of 25 sent while it is down, 10 are handled in order and 15 are counted", async () => {
    const probed = createProbedSystem();
    const handled: (string | number)[] = [];
    const { spec, ref } = makeChild(probed, "permanent", handled);
    const { exits } = await start(probed, spec);
    ref.tell("fail");
    await probed.settle();
    expect(exits).toMatchObject([{ kind: "abnormal", error: { path: "test/child" } }]);
    const results = Array.from({ length: 25 }, (_, index) => ref.tell(index));
    expect(results.filter((result) => result === "accepted")).toHaveLength(10);
    await probed.settle();
    expect(handled).toEqual(["fail"]);
    await start(probed, spec);
    await probed.settle();
    expect(handled).toEqual(["fail", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(probed.system.stats().deadLetters).toMatchObject({ mailbox_full: 15, failed: 1 });
  });

  test("A16: the same under a real supervisor that backs off", async () => {
    const probed = createProbedSystem();
    const handled: (string | number)[] = [];
    const { spec, ref } = makeChild(probed, "permanent", handled);
    const starting = startSupervisor(
      {
        id: "root",
        strategy: "one_for_one",
        intensity: 5,
        periodMs: 60_000,
        backoff: { minMs: 100, maxMs: 1_000, jitter: 0, resetAfterMs: 60_000 },
        children: [spec],
      },
      probed.environment,
    );
    await probed.settle();
    const supervisor = await starting;
    ref.tell("fail");
    await probed.settle();
    for (let index = 0; index < 25; index++) ref.tell(index);
    await probed.environment.advance(99);
    expect(handled).toEqual(["fail"]);
    await probed.environment.advance(1);
    expect(handled).toEqual(["fail", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(probed.system.stats().deadLetters.mailbox_full).toBe(15);
    const stopping = supervisor.stop();
    await probed.settle();
    await stopping;
  });

  test("A25: the message it died of is not handled again, the ones behind it are", async () => {
    const probed = createProbedSystem();
    const handled: (string | number)[] = [];
    const { spec, ref } = makeChild(probed, "permanent", handled);
    await start(probed, spec);
    for (const message of [1, "fail", 2, "fail", 3]) ref.tell(message);
    await probed.settle();
    await start(probed, spec);
    await start(probed, spec);
    expect(handled).toEqual([1, "fail", 2, "fail", 3]);
    expect(probed.undelivered.map((letter) => letter.message)).toEqual(["fail", "fail"]);
  });

  test("messages sent before the first start wait for it", async () => {
    const probed = createProbedSystem();
    const handled: (string | number)[] = [];
    const { spec, ref } = makeChild(probed, "permanent", handled);
    expect(ref.tell(1)).toBe("accepted");
    await start(probed, spec);
    expect(handled).toEqual([1]);
  });

  test("A17: a failure while unstashing 3 of 5 keeps the rest in order, none twice", async () => {
    const probed = createProbedSystem();
    const handled: string[] = [];
    const unstasher = defineActor<string>({
      type: "unstasher",
      setup: (_init, context) => {
        let open = context.incarnation > 1;
        return {
          receive(message) {
            if (message === "open") {
              open = true;
              context.unstashAll();
            } else if (!open) context.stash(message);
            else {
              handled.push(`${message}#${context.incarnation}`);
              if (message === "3" && context.incarnation === 1) throw new TypeError("third");
            }
          },
        };
      },
    });
    const options = { id: "u", restart: "permanent", shutdown: 1_000 } as const;
    const { spec, ref } = actorChild(probed.system, unstasher, undefined, options);
    await start(probed, spec);
    for (const message of ["1", "2", "3", "4", "5", "open", "6"]) ref.tell(message);
    await probed.settle();
    expect(handled).toEqual(["1#1", "2#1", "3#1"]);
    ref.tell("7");
    await start(probed, spec);
    expect(handled.slice(3)).toEqual(["4#2", "5#2", "6#2", "7#2"]);
  });

  test("A17: what is set aside when an actor fails is handled first by the next one", async () => {
    const probed = createProbedSystem();
    const handled: string[] = [];
    const careful = defineActor<string>({
      type: "careful",
      setup: (_init, context) => ({
        receive(message) {
          if (message === "fail") throw new TypeError("asked to");
          if (context.incarnation === 1) context.stash(message);
          else handled.push(message);
        },
      }),
    });
    const options = { id: "c", restart: "permanent", shutdown: 1_000 } as const;
    const { spec, ref } = actorChild(probed.system, careful, undefined, options);
    await start(probed, spec);
    for (const message of ["1", "2", "fail", "3"]) ref.tell(message);
    await probed.settle();
    await start(probed, spec);
    expect(handled).toEqual(["1", "2", "3"]);
  });
});

describe("ends and restarts", () => {
  test("A07: the old incarnation handles nothing after its stop; the next one does", async () => {
    const probed = createProbedSystem();
    const seen: string[] = [];
    const actor = defineActor<string>({
      type: "a",
      setup: (_init, context) => ({
        receive: (message) => void seen.push(`${message}#${context.incarnation}`),
      }),
    });
    const options = { id: "a", restart: "permanent", shutdown: 1_000 } as const;
    const { spec, ref } = actorChild(probed.system, actor, undefined, options);
    const first = await start(probed, spec);
    ref.tell("one");
    await probed.settle();
    const stopped = first.child.stop();
    ref.tell("two");
    await probed.settle();
    await stopped;
    ref.tell("three");
    await start(probed, spec);
    expect(seen).toEqual(["one#1", "two#2", "three#2"]);
    expect(first.exits).toEqual([]);
    // A handle of the incarnation before does nothing to this one.
    first.child.kill();
    await first.child.stop();
    ref.tell("four");
    await probed.settle();
    expect(seen.at(-1)).toBe("four#2");
  });

  const table: readonly [RestartType, "stop" | "fail", "buffers" | "stopped"][] = [
    ["permanent", "stop", "buffers"],
    ["permanent", "fail", "buffers"],
    ["transient", "stop", "stopped"],
    ["transient", "fail", "buffers"],
    ["temporary", "stop", "stopped"],
    ["temporary", "fail", "stopped"],
  ];
  for (const [restart, how, then] of table) {
    test(`after a ${how} of a ${restart} child its reference ${then}`, async () => {
      const probed = createProbedSystem();
      const { spec, ref } = makeChild(probed, restart, []);
      const { exits } = await start(probed, spec);
      ref.tell(how);
      ref.tell("behind");
      await probed.settle();
      expect(exits.map((exit) => exit.kind)).toEqual([how === "stop" ? "normal" : "abnormal"]);
      expect(ref.tell("late")).toBe(then === "buffers" ? "accepted" : "stopped");
      expect(probed.system.stats().deadLetters.stopped).toBe(then === "buffers" ? 0 : 2);
    });
  }

  test("A05: a temporary bystander is stopped and not restarted", async () => {
    for (const strategy of ["one_for_all", "rest_for_one"] as const) {
      const probed = createProbedSystem();
      const handled: (string | number)[] = [];
      const crashing = makeChild(probed, "permanent", []);
      const options = { id: "bystander", restart: "temporary", shutdown: 1_000 } as const;
      const bystander = actorChild(probed.system, collector(handled), undefined, options);
      const starting = startSupervisor(
        {
          id: "root",
          strategy,
          intensity: 5,
          periodMs: 1_000,
          children: [crashing.spec, bystander.spec],
        },
        probed.environment,
      );
      await probed.settle();
      const supervisor = await starting;
      crashing.ref.tell("fail");
      await probed.environment.advance(10);
      expect(crashing.ref.tell(1)).toBe("accepted");
      expect(bystander.ref.tell(2)).toBe("stopped");
      await probed.settle();
      expect(handled).toEqual([]);
      const stopping = supervisor.stop();
      await probed.settle();
      await stopping;
    }
  });

  test("kill ends a hanging handler at once, and the next incarnation starts clean", async () => {
    const probed = createProbedSystem();
    const gate = createGate();
    const seen: string[] = [];
    const hanging = defineActor<string>({
      type: "hanging",
      setup: (_init, context) => ({
        async receive(message) {
          seen.push(`${message}#${context.incarnation}`);
          if (message === "hang") await gate.opened;
        },
      }),
    });
    const options = { id: "h", restart: "permanent", shutdown: 1_000 } as const;
    const { spec, ref } = actorChild(probed.system, hanging, undefined, options);
    const first = await start(probed, spec);
    ref.tell("hang");
    ref.tell("next");
    await probed.settle();
    let stopped = false;
    void first.child.stop().then(() => (stopped = true));
    await probed.settle();
    expect(stopped).toBe(false);
    first.child.kill();
    await probed.settle();
    expect(stopped).toBe(true);
    await start(probed, spec);
    expect(seen).toEqual(["hang#1", "next#2"]);
    // The abandoned handler fails later: reported, but no failure of the second incarnation.
    gate.break(new TypeError("late"));
    await probed.settle();
    ref.tell("after");
    await probed.settle();
    expect(seen.at(-1)).toBe("after#2");
    expect(probed.failures.map((failure) => failure.incarnation)).toEqual([1, 1]);
  });

  test("an abandoned handler that ends later lets no two others run at once", async () => {
    const probed = createProbedSystem();
    const gates = [createGate(), createGate()];
    const seen: string[] = [];
    const slow = defineActor<string>({
      type: "slow",
      setup: (_init, context) => ({
        async receive(message) {
          seen.push(message);
          await gates[context.incarnation - 1]?.opened;
        },
      }),
    });
    const options = { id: "slow", restart: "permanent", shutdown: 1_000 } as const;
    const { spec, ref } = actorChild(probed.system, slow, undefined, options);
    const first = await start(probed, spec);
    ref.tell("first");
    await probed.settle();
    first.child.kill();
    await start(probed, spec);
    ref.tell("second");
    ref.tell("third");
    await probed.settle();
    gates[0]?.open();
    await probed.settle();
    expect(seen).toEqual(["first", "second"]);
    gates[1]?.open();
    await probed.settle();
    expect(seen).toEqual(["first", "second", "third"]);
  });

  test("a hook that outlives a kill does not touch the incarnation that followed", async () => {
    const probed = createProbedSystem();
    const gate = createGate();
    const seen: string[] = [];
    const lingering = defineActor<string>({
      type: "lingering",
      setup: (_init, context) => ({
        receive: (message) => void seen.push(`${message}#${context.incarnation}`),
        onStop: () => gate.opened,
      }),
    });
    const options = { id: "l", restart: "permanent", shutdown: 1_000 } as const;
    const { spec, ref } = actorChild(probed.system, lingering, undefined, options);
    const first = await start(probed, spec);
    void first.child.stop();
    await probed.settle();
    first.child.kill();
    const second = await start(probed, spec);
    gate.open();
    await probed.settle();
    ref.tell("hello");
    await probed.settle();
    expect(seen).toEqual(["hello#2"]);
    expect(second.exits).toEqual([]);
  });

  test("a kill and a start within one turn make one incarnation", async () => {
    const probed = createProbedSystem();
    let setups = 0;
    const counted = defineActor<string>({
      type: "counted",
      setup: async () => {
        setups++;
        await Promise.resolve();
        return { receive: () => {} };
      },
    });
    const options = { id: "c", restart: "permanent", shutdown: 1_000 } as const;
    const { spec, ref } = actorChild(probed.system, counted, undefined, options);
    const first = await start(probed, spec);
    ref.tell("wakes it");
    first.child.kill();
    await start(probed, spec);
    expect(setups).toBe(2);
  });

  test("a new start ends a hanging one, whose promise rejects", async () => {
    const probed = createProbedSystem();
    let starts = 0;
    const slow = defineActor<string>({
      type: "slow",
      setup: async () => {
        if (++starts === 1) await createGate().opened;
        return { receive: () => {} };
      },
    });
    const options = { id: "slow", restart: "permanent", shutdown: 1_000 } as const;
    const { spec } = actorChild(probed.system, slow, undefined, options);
    const first = spec.start(() => {}).then(String, String);
    await probed.settle();
    const second = await start(probed, spec);
    expect(await first).toContain("ended before it had started");
    expect(second.exits).toEqual([]);
    expect(starts).toBe(2);
  });

  test("a second start beside a living incarnation is refused", async () => {
    const probed = createProbedSystem();
    const { spec } = makeChild(probed, "permanent", []);
    await start(probed, spec);
    const second = await spec.start(() => {}).catch((error: unknown) => error);
    expect(second).toMatchObject({ message: "test/child is still running" });
  });

  test("a stopping system ends it, counts what waits, and refuses to start it again", async () => {
    const probed = createProbedSystem();
    const { spec, ref } = makeChild(probed, "permanent", []);
    ref.tell(1);
    const stopped = probed.system.stop();
    await probed.settle();
    await stopped;
    expect(ref.tell(2)).toBe("stopped");
    expect(probed.system.stats().deadLetters.stopped).toBe(2);
    const again = await spec.start(() => {}).catch((error: unknown) => error);
    expect(again).toMatchObject({ code: "CLOSED" });
  });

  test("a child that has ended takes messages again once it is started again", async () => {
    const probed = createProbedSystem();
    const handled: (string | number)[] = [];
    const { spec, ref } = makeChild(probed, "transient", handled);
    await start(probed, spec);
    ref.tell("stop");
    await probed.settle();
    expect(ref.tell(1)).toBe("stopped");
    await start(probed, spec);
    expect(ref.tell(2)).toBe("accepted");
    await probed.settle();
    expect(handled).toEqual(["stop", 2]);
  });

  test("a stopping system kills a supervised actor that hangs, at its deadline", async () => {
    const probed = createProbedSystem();
    const hanging = defineActor<string>({
      type: "hanging",
      setup: () => ({ receive: () => createGate().opened }),
    });
    const options = { id: "h", restart: "permanent", shutdown: 1_000 } as const;
    const { spec, ref } = actorChild(probed.system, hanging, undefined, options);
    await start(probed, spec);
    ref.tell("in hand");
    ref.tell("waiting");
    await probed.settle();
    const stopped = probed.system.stop(100);
    await probed.environment.advance(100);
    await stopped;
    expect(probed.undelivered.map(({ reason, message }) => [reason, message])).toEqual([
      ["failed", "in hand"],
      ["stopped", "waiting"],
    ]);
    expect(ref.tell("late")).toBe("stopped");
    expect(probed.system.stats().actors).toBe(0);
  });
});
