/**
 * The payment provider keeps its word over real sockets: one key, one effect, one answer.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startPaymentProvider } from "./payment-provider.ts";
import type { PaymentProvider, ProviderOptions } from "./payment-provider.ts";

const cleanups: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

function provide(change: Partial<ProviderOptions> = {}): PaymentProvider & { ledgerFile: string } {
  const directory = mkdtempSync(join(tmpdir(), "provider-"));
  const ledgerFile = join(directory, "ledger.jsonl");
  const provider = startPaymentProvider({
    port: 0,
    ledgerFile,
    latencyMs: 0,
    declineRate: 0,
    failureRate: 0,
    hangRate: 0,
    hangMs: 0,
    seed: 1,
    ...change,
  });
  cleanups.push(async () => {
    await provider.stop();
    rmSync(directory, { recursive: true });
  });
  return { ...provider, ledgerFile };
}

async function post(provider: PaymentProvider, path: string, key: string | null, body: object) {
  const response = await fetch(`http://127.0.0.1:${provider.port}${path}`, {
    method: "POST",
    headers: key === null ? {} : { "idempotency-key": key },
    body: JSON.stringify(body),
  });
  return { status: response.status, text: await response.text() };
}

const CAPTURE = { orderId: "o", amountMinor: 500, currency: "USD" };
const REFUND = { ...CAPTURE, captureKey: "o:capture" };

describe("the payment provider", () => {
  test("captures once however often it is asked at once, and always answers the same", async () => {
    const provider = provide({ latencyMs: 5 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => post(provider, "/captures", "o:capture", CAPTURE)),
    );
    expect(new Set(answers.map((answer) => answer.text)).size).toBe(1);
    expect(JSON.parse(answers[0]?.text ?? "")).toMatchObject({ status: "captured" });
    expect(provider.books()).toMatchObject({ captureAttempts: 20, repeats: 19 });
    expect(provider.books().effects).toHaveLength(1);
    expect(readFileSync(provider.ledgerFile, "utf8").trim().split("\n")).toHaveLength(1);
  });

  test("captures twice under two keys: that is the caller's mistake, and must show", async () => {
    const provider = provide();
    await post(provider, "/captures", "o:capture", CAPTURE);
    await post(provider, "/captures", "o:again", CAPTURE);
    expect(provider.books().effects.map((effect) => effect.orderId)).toEqual(["o", "o"]);
  });

  test("refuses a known key with another body, without an effect", async () => {
    const provider = provide();
    await post(provider, "/captures", "o:capture", CAPTURE);
    const { status } = await post(provider, "/captures", "o:capture", {
      ...CAPTURE,
      amountMinor: 1,
    });
    expect(status).toBe(422);
    expect(provider.books().effects).toHaveLength(1);
  });

  test("refunds what was captured, once", async () => {
    const provider = provide();
    await post(provider, "/captures", "o:capture", CAPTURE);
    for (let n = 0; n < 3; n++) {
      const { status, text } = await post(provider, "/refunds", "o:refund", REFUND);
      expect(status).toBe(200);
      expect(JSON.parse(text)).toMatchObject({ status: "refunded" });
    }
    expect(provider.books().effects.map((effect) => effect.kind)).toEqual(["capture", "refund"]);
  });

  test("refuses a capture that comes after its refund", async () => {
    const provider = provide();
    const refund = await post(provider, "/refunds", "o:refund", REFUND);
    expect(JSON.parse(refund.text)).toMatchObject({ status: "nothing_to_refund" });
    const capture = await post(provider, "/captures", "o:capture", CAPTURE);
    expect(capture).toEqual({ status: 402, text: '{"status":"declined","reason":"voided"}' });
    expect(provider.books()).toMatchObject({ effects: [], voided: 1 });
  });

  test("declines a share of the keys, and the same ones again", async () => {
    const statuses = async (): Promise<number[]> => {
      const provider = provide({ declineRate: 0.3 });
      const keys = Array.from({ length: 100 }, (_, n) => `${n}:capture`);
      const answers = await Promise.all(
        keys.map((key) => post(provider, "/captures", key, CAPTURE)),
      );
      return answers.map((answer) => answer.status);
    };
    const first = await statuses();
    const declined = first.filter((status) => status === 402).length;
    expect(declined).toBeGreaterThan(10);
    expect(declined).toBeLessThan(60);
    expect(await statuses()).toEqual(first);
  });

  test("fails before the effect and after it, and a repeat finds the truth", async () => {
    const provider = provide({ failureRate: 0.5 });
    const keys = Array.from({ length: 60 }, (_, n) => `${n}:capture`);
    const first = await Promise.all(keys.map((key) => post(provider, "/captures", key, CAPTURE)));
    const failed = first.filter((answer) => answer.status === 500).length;
    const effects = provider.books().effects.length;
    expect(failed).toBeGreaterThan(0);
    expect(effects).toBeGreaterThan(60 - failed);
    expect(effects).toBeLessThan(60);
    for (const key of keys) {
      while ((await post(provider, "/captures", key, CAPTURE)).status !== 200);
    }
    expect(provider.books().effects).toHaveLength(60);
  });

  test("answers late after the effect when it hangs", async () => {
    const provider = provide({ hangRate: 1, hangMs: 30_000 });
    const controller = new AbortController();
    const request = fetch(`http://127.0.0.1:${provider.port}/captures`, {
      method: "POST",
      headers: { "idempotency-key": "o:capture" },
      body: JSON.stringify(CAPTURE),
      signal: controller.signal,
    }).catch(() => "aborted");
    while (provider.books().effects.length === 0) await Bun.sleep(1);
    controller.abort();
    expect(await request).toBe("aborted");
  });

  test.each([
    ["no key", "/captures", null, CAPTURE],
    ["another path", "/payments", "k", CAPTURE],
    ["no order", "/captures", "k", { amountMinor: 1, currency: "USD" }],
    ["half a cent", "/captures", "k", { ...CAPTURE, amountMinor: 0.5 }],
    ["a refund of nothing named", "/refunds", "k", CAPTURE],
  ])("does not understand %s", async (_what, path, key, body) => {
    const provider = provide();
    expect((await post(provider, path, key, body)).status).toBe(400);
    expect(provider.books().effects).toEqual([]);
  });
});
