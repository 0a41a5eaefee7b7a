/**
 * The outbox on a real disk: whole lines, rotation, what a crash leaves behind, a disk that fails.
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";

import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Notification } from "./notification.ts";

import { createOutboxChannel } from "./outbox-channel.ts";
import { createdOf, openHouse } from "./notification-probe.suite.ts";
import { ShopError } from "../../runtime/errors.ts";

const { signal } = new AbortController();
const SETTINGS = { fileBytesMax: 1_000_000, filesMax: 3 };

let directory = "";
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), "shop-outbox-")), "outbox");
});
afterEach(() => {
  rmSync(join(directory, ".."), { recursive: true });
});

function open(settings = SETTINGS, shard = 0) {
  return createOutboxChannel({ kind: "email", directory, shard, settings });
}

function notificationOf(orderId: string, text = "Hello\nä"): Notification {
  return {
    id: `${orderId}/order.created/email`,
    orderId,
    event: "order.created",
    channel: "email",
    language: "en",
    to: "ada@example.com",
    subject: "Hi",
    text,
    atMs: 1_700_000_000_000,
  };
}

const ordersIn = (file: string): readonly string[] =>
  readFileSync(join(directory, file), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => String(JSON.parse(line).orderId));

describe("the outbox", () => {
  test("has a line of JSON for each notification", async () => {
    const channel = open();
    const results = await channel.send([notificationOf("o1"), notificationOf("o2")], signal);
    expect(results).toEqual([{ kind: "sent" }, { kind: "sent" }]);
    await channel.close();
    const [line] = readFileSync(join(directory, "email-0.jsonl"), "utf8").split("\n");
    expect(JSON.parse(line ?? "")).toEqual({
      id: "o1/order.created/email",
      at: "2023-11-14T22:13:20.000Z",
      event: "order.created",
      orderId: "o1",
      to: "ada@example.com",
      language: "en",
      subject: "Hi",
      text: "Hello\nä",
    });
    expect(ordersIn("email-0.jsonl")).toEqual(["o1", "o2"]);
  });

  test("is its owner's alone, files and directory, after a rotation too", async () => {
    for (const filesMax of [1, 3]) {
      const channel = open({ fileBytesMax: 1, filesMax }, filesMax);
      for (const orderId of [`a${filesMax}`, `b${filesMax}`]) {
        await channel.send([notificationOf(orderId)], signal);
      }
      await channel.close();
    }
    const names = readdirSync(directory);
    expect(names.toSorted()).toEqual(["email-1.jsonl", "email-3.1.jsonl", "email-3.jsonl"]);
    const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);
    expect(names.map((name) => modeOf(join(directory, name)))).toEqual(["600", "600", "600"]);
    expect(modeOf(directory)).toBe("700");
  });

  test("refuses an id that it has, after a restart and in another shard's file too", async () => {
    const first = open();
    await first.send([notificationOf("o1")], signal);
    await first.send([notificationOf("o1"), notificationOf('o"2\n')], signal);
    await first.close();
    const second = open();
    expect(await second.send([notificationOf('o"2\n')], signal)).toEqual([{ kind: "sent" }]);
    await second.close();
    const other = open(SETTINGS, 1);
    await other.send([notificationOf("o1"), notificationOf("o3")], signal);
    await other.close();
    expect(ordersIn("email-0.jsonl")).toEqual(["o1", 'o"2\n']);
    expect(ordersIn("email-1.jsonl")).toEqual(["o3"]);
  });

  test("refuses what another shard wrote beside this one, once it takes over", async () => {
    const [mine, others] = [open(), open(SETTINGS, 1)];
    await mine.send([notificationOf("o1")], signal);
    await others.send([notificationOf("o2"), notificationOf("o3")], signal);
    mine.takeOver?.();
    await mine.send([notificationOf("o2"), notificationOf("o4")], signal);
    await others.send([notificationOf("o5")], signal);
    mine.takeOver?.();
    await mine.send([notificationOf("o5"), notificationOf("o4"), notificationOf("o3")], signal);
    await Promise.all([mine.close(), others.close()]);
    expect(ordersIn("email-0.jsonl")).toEqual(["o1", "o4"]);
    expect(ordersIn("email-1.jsonl")).toEqual(["o2", "o3", "o5"]);
  });

  test("knows what each of many shards wrote last, however much they wrote before", async () => {
    const shards = Array.from({ length: 10 }, (_, shard) => shard);
    for (const shard of shards) {
      const lines = Array.from({ length: 1_500 }, (_, at) => {
        return `${JSON.stringify({ id: `s${shard}-${at}/order.created/email`, orderId: "x" })}\n`;
      });
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `email-${shard}.jsonl`), lines.join(""));
    }
    const channel = open();
    const last = shards.flatMap((shard) => [`s${shard}-1400`, `s${shard}-1499`]);
    await channel.send(
      last.map((orderId) => notificationOf(orderId)),
      signal,
    );
    await channel.close();
    expect(ordersIn("email-0.jsonl")).toHaveLength(1_500);
  });

  test("refuses what it wrote thousands of notifications ago", async () => {
    const settings = { fileBytesMax: 100_000_000, filesMax: 1 };
    const channel = open(settings);
    const batch = Array.from({ length: 8_193 }, (_, at) => notificationOf(`o${at}`, "Hi"));
    await channel.send(batch, signal);
    await channel.send([notificationOf("o1"), notificationOf("o8192")], signal);
    await channel.close();
    expect(ordersIn("email-0.jsonl")).toHaveLength(batch.length);
  });

  test("cuts off half a line that a crash left, and writes it again whole", async () => {
    const first = open();
    await first.send([notificationOf("o1")], signal);
    await first.close();
    appendFileSync(join(directory, "email-0.jsonl"), '{"id":"o2/order.created/email","a');
    const second = open();
    await second.send([notificationOf("o2")], signal);
    await second.close();
    expect(ordersIn("email-0.jsonl")).toEqual(["o1", "o2"]);
  });

  test("rotates at its bound, keeps so many files, and knows the ids in all of them", async () => {
    const settings = { fileBytesMax: 1_000, filesMax: 3 };
    const channel = open(settings);
    for (let at = 0; at < 20; at++) await channel.send([notificationOf(`o${at}`)], signal);
    await channel.close();
    const files = readdirSync(directory).sort();
    expect(files).toEqual(["email-0.1.jsonl", "email-0.2.jsonl", "email-0.jsonl"]);
    const kept = files.toReversed().flatMap((file) => ordersIn(file));
    expect(kept.length).toBeLessThan(20);
    expect(kept).toContain("o19");
    const again = open(settings);
    await again.send(
      kept.map((orderId) => notificationOf(orderId)),
      signal,
    );
    await again.close();
    expect(files.toReversed().flatMap((file) => ordersIn(file))).toEqual(kept);
  });

  test("fails as a channel does when its directory cannot be, and recovers", async () => {
    writeFileSync(directory, "a file where the directory should be");
    const channel = open();
    const [result] = await channel.send([notificationOf("o1")], signal);
    expect(result?.kind).toBe("failed");
    rmSync(directory);
    expect(await channel.send([notificationOf("o1")], signal)).toEqual([{ kind: "sent" }]);
    await channel.close();
    expect(ordersIn("email-0.jsonl")).toEqual(["o1"]);
  });
});

test("an append that failed half-way is gone on with: every line whole, and once", async () => {
  const script = join(import.meta.dir, "outbox-channel-process.fixture.ts");
  const limited = `trap "" XFSZ; ulimit -S -f 4; exec "$0" "$@"`;
  const child = Bun.spawn(["sh", "-c", limited, process.execPath, script, directory], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const [first, ...results] = (await new Response(child.stdout).text()).trim().split("\n");
  expect(await child.exited).toBe(0);
  expect(first).toBe("failed");
  expect(results.at(-1)).toBe("sent");
  const files = readdirSync(directory).sort(byAge);
  expect(files.length).toBeGreaterThan(1);
  const wanted = Array.from({ length: 40 }, (_, at) => `o${at}`);
  expect(files.flatMap((file) => ordersIn(file))).toEqual(wanted);
});

/** Oldest first. */
function byAge(left: string, right: string): number {
  const ageOf = (name: string) => Number(/\.(\d+)\./.exec(name)?.[1] ?? 0);
  return ageOf(right) - ageOf(left);
}

test("a crash between the writing and the commit leaves one line and one entry", async () => {
  const first = open();
  const house = openHouse({ channels: [first] });
  const messages = house.messagesOf([createdOf("o1"), createdOf("o2")]);
  house.faults.set("before_commit", [new ShopError("STORAGE_FAULT", "died", "later")]);
  expect(house.service().handle(messages)).rejects.toMatchObject({ code: "STORAGE_FAULT" });
  expect(ordersIn("email-0.jsonl")).toEqual(["o1", "o2"]);
  await first.close();
  house.restart([open()]);
  await house.service().handle(messages);
  await house.service().handle(messages);
  await house.service().close();
  expect(ordersIn("email-0.jsonl")).toEqual(["o1", "o2"]);
  expect(house.ledger("o1")).toEqual(["order.created/email: sent"]);
});
