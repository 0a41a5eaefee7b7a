/**
 * The notification service over a store in memory and channels that answer as they are told.
 *
 * No customer may hear a thing twice, no channel may stop another, and what failed is on record.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import type { SendResult } from "./channel.ts";
import type { Notification } from "./notification.ts";

import { ShopError } from "../../runtime/errors.ts";
import { REDRIVEN_HEADER } from "../delivery/redrive.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { failedSend } from "./channel.ts";
import { QUEUE_MAX } from "./notification-policy.ts";
import {
  cancelledOf,
  CONTACT,
  createdOf,
  openHouse,
  paidOf,
  probeChannel,
  settingsWith,
  shippedOf,
} from "./notification-probe.suite.ts";

const HANGS = () => new Promise<SendResult>(() => {});
const REFUSES = () => failedSend("broken");
const idsOf = (seen: readonly Notification[]) => seen.map(({ id }) => id);

describe("a batch", () => {
  test("is one commit and one call of each channel, whatever the number of orders", async () => {
    const [email, sms] = [probeChannel("email"), probeChannel("sms")];
    const house = openHouse({ channels: [email, sms] });
    const outcomes = await house.tell(createdOf("o1"), createdOf("o2"), paidOf("o3", "completed"));
    expect(outcomes.map(({ kind }) => kind)).toEqual(["settled", "settled", "settled"]);
    expect(house.counts).toEqual({ commits: 1, acknowledged: 3 });
    expect(idsOf(email.seen)).toEqual(["o1/order.created/email", "o2/order.created/email"]);
    expect(sms.seen.map(({ to }) => to)).toEqual([CONTACT.phone, CONTACT.phone]);
    expect(house.ledger("o1")).toEqual(["order.created/email: sent", "order.created/sms: sent"]);
    expect(house.store.timerIds()).toEqual([]);
  });

  test("of what nobody is told about is acknowledged without a commit", async () => {
    const house = openHouse({ channels: [probeChannel("email")] });
    const paid = paidOf("o1", "completed");
    expect(await house.tell(paid)).toEqual([{ kind: "ack" }]);
    expect(house.counts.commits).toBe(0);
  });

  test("writes in the order's language and currency", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email] });
    await house.tell(createdOf("o1", { ...CONTACT, language: "de-AT" }));
    const [told] = email.seen;
    expect(told?.language).toBe("de");
    expect(told?.subject).toBe("Ihre Bestellung o1");
    expect(told?.text.replace(/\s/gu, " ")).toContain("€ 19,90");
  });

  test("reports what it recorded, after the commit", async () => {
    const house = openHouse({ channels: [probeChannel("email")] });
    await house.tell(createdOf("o1"));
    expect(house.recorded).toMatchObject([{ event: "order.created", status: "sent" }]);
  });
});

describe("the past is not told", () => {
  const AGE_MAX_MS = 60_000;
  const settings = { ...settingsWith(), ageMaxMs: AGE_MAX_MS };

  test("when the service is first started with a log full of orders", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email], settings });
    const old = house.messagesOf([createdOf("o1"), shippedOf("o1")]);
    await house.environment.advance(AGE_MAX_MS + 1);
    // One of each order at a time, as they are delivered.
    for (const message of old) await house.handle([message]);
    await house.tell(createdOf("o2"));
    expect(idsOf(email.seen)).toEqual(["o2/order.created/email"]);
    expect(house.ledger("o1")).toEqual([
      "order.created/email: skipped(too_old)",
      "order.shipped/email: skipped(too_old)",
    ]);
    await house.tell(cancelledOf("o1"));
    expect(idsOf(email.seen)).toContain("o1/order.cancelled/email");
  });

  test("but what was begun in time is tried again, however long that takes", async () => {
    const email = probeChannel("email");
    email.answer = REFUSES;
    const house = openHouse({
      channels: [email],
      settings: { ...settingsWith({ delayMinMs: 50_000, delayMaxMs: 50_000 }), ageMaxMs: 1_000 },
    });
    await house.tell(createdOf("o1"));
    await house.environment.advance(200_000);
    expect(email.seen.length).toBeGreaterThan(2);
  });

  test("unless an operator puts it back", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email], settings });
    const [message] = house.messagesOf([createdOf("o1")]);
    expect(message).toBeDefined();
    if (message === undefined) return;
    await house.environment.advance(AGE_MAX_MS + 1);
    const headers = { ...message.frame.headers, [REDRIVEN_HEADER]: "notification/orders/0/1" };
    await house.handle([{ ...message, frame: { ...message.frame, headers } }]);
    expect(email.seen).toHaveLength(1);
  });
});

describe("nothing is told twice", () => {
  test("when a message is delivered again", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email] });
    const messages = house.messagesOf([createdOf("o1"), createdOf("o2")]);
    await house.handle(messages);
    expect(await house.handle(messages)).toEqual([{ kind: "ack" }, { kind: "ack" }]);
    house.restart();
    expect(await house.handle(messages)).toEqual([{ kind: "ack" }, { kind: "ack" }]);
    expect(email.seen).toHaveLength(2);
  });

  test("when the same event comes under another message id", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email] });
    await house.tell(createdOf("o1"));
    await house.tell(shippedOf("o1"));
    expect(await house.tell(shippedOf("o1"))).toEqual([{ kind: "ack" }]);
    expect(await house.tell(createdOf("o1"))).toEqual([{ kind: "ack" }]);
    expect(email.seen).toHaveLength(2);
  });

  test("when a commit lost a race and the batch is decided again", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email] });
    await house.tell(createdOf("o1"));
    email.answer = async () => {
      // Somebody else writes the row between the reading and the commit.
      const [row] = await house.store.load("notifications", ["o1"]);
      if (row?.version === 1) {
        const { key, data, version: expectedVersion } = row;
        const write = { table: "notifications", key, expectedVersion, data } as const;
        await house.store.commit({ ...EMPTY_UNIT, rows: [write] }, []);
      }
      return { kind: "sent" };
    };
    expect(await house.tell(shippedOf("o1"))).toEqual([{ kind: "settled" }]);
    expect(idsOf(email.seen)).toEqual(["o1/order.created/email", "o1/order.shipped/email"]);
  });

  test("under another id when the process dies between the sending and the commit", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email] });
    const messages = house.messagesOf([createdOf("o1")]);
    house.faults.set("before_commit", [new ShopError("STORAGE_FAULT", "died", "later")]);
    expect(house.handle(messages)).rejects.toMatchObject({ code: "STORAGE_FAULT" });
    house.restart();
    await house.handle(messages);
    expect(idsOf(email.seen)).toEqual(["o1/order.created/email", "o1/order.created/email"]);
    expect(house.ledger("o1")).toEqual(["order.created/email: sent"]);
  });

  test("when a channel is switched on for events that were told before", async () => {
    const [email, sms] = [probeChannel("email"), probeChannel("sms")];
    const house = openHouse({ channels: [email] });
    const messages = house.messagesOf([createdOf("o1")]);
    await house.handle(messages);
    house.restart([email, sms]);
    await house.handle(messages);
    expect(sms.seen).toEqual([]);
  });
});

describe("a channel that fails", () => {
  test("does not stop another, nor later events of the order", async () => {
    const [email, sms, push] = [probeChannel("email"), probeChannel("sms"), probeChannel("push")];
    email.answer = REFUSES;
    sms.answer = () => {
      throw new Error("bug");
    };
    const house = openHouse({ channels: [email, sms, push] });
    await house.tell(createdOf("o1"));
    await house.tell(shippedOf("o1"));
    expect(house.ledger("o1")).toEqual([
      "order.created/email: pending",
      "order.created/push: sent",
      "order.created/sms: pending",
      "order.shipped/email: pending",
      "order.shipped/push: sent",
      "order.shipped/sms: pending",
    ]);
    expect(house.entry("o1", "order.created", "sms")?.reason).toContain("bug");
  });

  test("is tried again with growing waits, then recorded as failed", async () => {
    const email = probeChannel("email");
    email.answer = REFUSES;
    const policy = { attemptsMax: 4, delayMinMs: 1_000, delayMaxMs: 3_000 };
    const house = openHouse({ channels: [email], settings: settingsWith(policy) });
    const startMs = house.environment.nowMs();
    await house.tell(createdOf("o1"));
    await house.environment.advance(60_000);
    const waitsMs = email.seen.map(({ atMs }) => atMs - startMs);
    expect(waitsMs).toHaveLength(4);
    const gapsMs = waitsMs.slice(1).map((atMs, at) => atMs - (waitsMs[at] ?? 0));
    for (const [at, nominalMs] of [1_000, 2_000, 3_000].entries()) {
      expect(gapsMs[at]).toBeGreaterThanOrEqual(nominalMs * 0.8);
      expect(gapsMs[at]).toBeLessThanOrEqual(nominalMs * 1.2 + 1);
    }
    expect(house.entry("o1", "order.created", "email")).toMatchObject({
      status: "failed",
      attempts: 4,
      reason: "broken",
    });
    expect(house.entry("o1", "order.created", "email")?.facts).toBeUndefined();
    expect(house.store.timerIds()).toEqual([]);
    expect(new Set(idsOf(email.seen)).size).toBe(1);
  });

  test("and recovers sends once more, and no more", async () => {
    const email = probeChannel("email");
    email.answer = REFUSES;
    const house = openHouse({ channels: [email] });
    await house.tell(createdOf("o1"));
    email.answer = () => ({ kind: "sent" });
    await house.environment.advance(3_600_000);
    expect(email.seen).toHaveLength(2);
    expect(house.ledger("o1")).toEqual(["order.created/email: sent"]);
  });

  test("for good is not asked again", async () => {
    const email = probeChannel("email");
    email.answer = () => ({ kind: "rejected", error: "550 no such\r\nuser" });
    const house = openHouse({ channels: [email] });
    await house.tell(createdOf("o1"));
    await house.environment.advance(3_600_000);
    expect(email.seen).toHaveLength(1);
    const entry = house.entry("o1", "order.created", "email");
    expect(entry).toMatchObject({ status: "failed", attempts: 1, reason: "550 no such user" });
  });

  test("and was switched off while it had to try again is recorded as failed", async () => {
    const email = probeChannel("email");
    email.answer = REFUSES;
    const house = openHouse({ channels: [email] });
    await house.tell(createdOf("o1"));
    house.restart([]);
    await house.environment.advance(3_600_000);
    const entry = house.entry("o1", "order.created", "email");
    expect(entry).toMatchObject({ status: "failed", reason: "channel_off" });
  });
});

describe("a remote channel", () => {
  test("that hangs holds up nothing, and is cut off by its timeout", async () => {
    const [email, push] = [probeChannel("email", "remote"), probeChannel("push")];
    email.answer = HANGS;
    const policy = { attemptsMax: 2, timeoutMs: 5_000, delayMinMs: 1_000, delayMaxMs: 1_000 };
    const house = openHouse({ channels: [email, push], settings: settingsWith(policy) });
    // No time passes, and yet both orders are done with.
    expect(await house.tell(createdOf("o1"))).toEqual([{ kind: "settled" }]);
    expect(await house.tell(createdOf("o2"), shippedOf("o1"))).toHaveLength(2);
    expect(push.seen).toHaveLength(3);
    await house.environment.advance(5_250);
    expect(house.entry("o1", "order.created", "email")).toMatchObject({
      status: "pending",
      attempts: 1,
      reason: "no answer within 5000 ms",
    });
    await house.environment.advance(120_000);
    expect(house.entry("o1", "order.created", "email")).toMatchObject({
      status: "failed",
      attempts: 2,
    });
    expect(house.store.timerIds()).toEqual([]);
  });

  test("is asked after the commit, and its answer is a commit of its own", async () => {
    const email = probeChannel("email", "remote");
    const house = openHouse({ channels: [email] });
    email.answer = () => {
      expect(house.ledger("o1")).toEqual(["order.created/email: pending"]);
      expect(house.store.timerIds()).toEqual(["notify:o1/order.created/email"]);
      return { kind: "sent" };
    };
    await house.tell(createdOf("o1"));
    expect(house.ledger("o1")).toEqual(["order.created/email: sent"]);
    expect(house.store.timerIds()).toEqual([]);
    expect(house.counts.commits).toBe(2);
  });

  test("whose process dies meanwhile is asked again under the same id, boundedly", async () => {
    const email = probeChannel("email", "remote");
    email.answer = HANGS;
    const policy = { attemptsMax: 3, timeoutMs: 1_000_000 };
    const house = openHouse({ channels: [email], settings: settingsWith(policy) });
    await house.tell(createdOf("o1"));
    for (let death = 0; death < 4; death++) {
      house.restart();
      await house.environment.advance(2_100_000);
    }
    expect(idsOf(email.seen)).toEqual(Array(3).fill("o1/order.created/email"));
    const entry = house.entry("o1", "order.created", "email");
    expect(entry).toMatchObject({ status: "failed", attempts: 3, reason: "no_answer" });
  });

  test("records its answers although the store stumbles", async () => {
    const email = probeChannel("email", "remote");
    const house = openHouse({ channels: [email] });
    email.answer = () => {
      house.faults.set("before_commit", [new ShopError("SATURATED", "full", "later")]);
      return { kind: "sent" };
    };
    await house.tell(createdOf("o1"));
    expect(house.ledger("o1")).toEqual(["order.created/email: pending"]);
    await house.environment.advance(1_000);
    expect(house.ledger("o1")).toEqual(["order.created/email: sent"]);
    expect(email.seen).toHaveLength(1);
  });

  test("has a bounded queue; what finds no place comes later", async () => {
    const email = probeChannel("email", "remote");
    email.answer = HANGS;
    const policy = { timeoutMs: 1_000, delayMinMs: 1_000, delayMaxMs: 60_000, attemptsMax: 50 };
    const house = openHouse({ channels: [email], settings: settingsWith(policy) });
    const orders = Array.from({ length: QUEUE_MAX + 10 }, (_, at) => createdOf(`o${at}`));
    await house.tell(...orders);
    const last = house.entry(`o${QUEUE_MAX + 9}`, "order.created", "email");
    expect(last).toMatchObject({ status: "pending", attempts: 0, reason: "queue_full" });
    email.answer = () => ({ kind: "sent" });
    await house.environment.advance(400_000);
    const statuses = orders.map(({ orderId }) => house.ledger(orderId));
    expect(new Set(statuses.flat())).toEqual(new Set(["order.created/email: sent"]));
  });

  test("is closed with the service, without counting what was cut off as an answer", async () => {
    const email = probeChannel("email", "remote");
    email.answer = HANGS;
    const house = openHouse({ channels: [email] });
    await house.tell(createdOf("o1"));
    const closed = house.service().close();
    await house.environment.advance(300);
    await closed;
    expect(email.closed).toBe(true);
    const entry = house.entry("o1", "order.created", "email");
    expect(entry?.reason).toBeUndefined();
    expect(house.store.timerIds()).toEqual(["notify:o1/order.created/email"]);
  });
});

describe("a customer", () => {
  test("without an address is skipped, except by a channel that knows its customers", async () => {
    const all = [probeChannel("email"), probeChannel("sms"), probeChannel("push")];
    const house = openHouse({ channels: all });
    await house.tell(createdOf("o1", {}));
    expect(house.ledger("o1")).toEqual([
      "order.created/email: sent",
      "order.created/push: skipped(no_address)",
      "order.created/sms: skipped(no_address)",
    ]);
    expect(all[0]?.seen.map(({ to }) => to)).toEqual(["customer:ada"]);
    const strict = openHouse({ channels: [probeChannel("email", "remote", false)] });
    await strict.tell(createdOf("o1", {}));
    expect(strict.ledger("o1")).toEqual(["order.created/email: skipped(no_address)"]);
  });

  test("who is not known is waited for, then skipped", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email] });
    await house.tell(shippedOf("o1"));
    expect(house.ledger("o1")).toEqual(["order.shipped/email: pending"]);
    await house.environment.advance(60_000);
    expect(house.ledger("o1")).toEqual(["order.shipped/email: skipped(no_contact)"]);
    expect(email.seen).toEqual([]);
  });

  test("who becomes known in time hears what had to wait", async () => {
    const email = probeChannel("email");
    const house = openHouse({ channels: [email] });
    await house.tell(paidOf("o1", "failed"));
    await house.tell(cancelledOf("o1"));
    await house.tell(createdOf("o1"));
    expect(house.ledger("o1")).toEqual([
      "order.cancelled/email: sent",
      "order.created/email: sent",
      "payment.failed/email: sent",
    ]);
    await house.environment.advance(3_600_000);
    expect(email.seen).toHaveLength(3);
  });
});

test("whatever comes in whatever order, nobody hears a thing twice and all ends", async () => {
  const step = fc.record({
    event: fc.constantFrom("created", "shipped", "cancelled", "failed"),
    order: fc.constantFrom("o1", "o2"),
    works: fc.boolean(),
    waitMs: fc.constantFrom(0, 10, 1_500, 70_000),
    dies: fc.boolean(),
  });
  const build = {
    created: createdOf,
    shipped: shippedOf,
    cancelled: cancelledOf,
    failed: (orderId: string) => paidOf(orderId, "failed"),
  };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), fc.boolean(), async (steps, isRemote) => {
      const email = probeChannel("email", isRemote ? "remote" : "local");
      const accepted: string[] = [];
      let works = true;
      email.answer = ({ id }) => {
        if (!works) return failedSend("broken");
        accepted.push(id);
        return { kind: "sent" };
      };
      const house = openHouse({ channels: [email] });
      for (const { event, order, waitMs, dies, ...rest } of steps) {
        works = rest.works;
        await house.tell(build[event](order));
        if (dies) house.restart();
        await house.environment.advance(waitMs);
      }
      works = true;
      await house.environment.advance(3_600_000);
      expect(new Set(accepted).size).toBe(accepted.length);
      const statuses = ["o1", "o2"].flatMap((id) => house.row(id)?.entries ?? []);
      expect(statuses.filter(({ status }) => status === "pending")).toEqual([]);
      expect(house.store.timerIds()).toEqual([]);
    }),
    { numRuns: 60 },
  );
});
