/**
 * A payment provider to test against: slow, declining or failing as told, and keeping books.
 *
 * `POST /captures {orderId, amountMinor, currency, token?}` and `POST /refunds {orderId,
 * captureKey, amountMinor, currency, reference?}`, both with `Idempotency-Key`: one key has one
 * effect and always the same answer; another body under it is refused with 422. A refund of a
 * capture that never arrived answers `nothing_to_refund` and refuses that capture from then on,
 * because it may still be on its way. Every effect is a line in the ledger file before it is
 * answered. Effects under different keys are never merged: that is the caller's mistake to show.
 */

import { appendFileSync } from "node:fs";

import { createSeededRandom } from "./seeded-random.ts";
import type { LedgerEffect } from "./evidence.ts";

export interface ProviderOptions {
  readonly port: number;
  /** Appended to, one JSON line per effect. */
  readonly ledgerFile: string;
  /** Every answer takes between this and twice this. */
  readonly latencyMs: number;
  /** Share of capture keys that are declined. */
  readonly declineRate: number;
  /** Share of calls answered with 500; half of them after the effect. */
  readonly failureRate: number;
  /** Share of calls whose answer comes `hangMs` late, after the effect. */
  readonly hangRate: number;
  readonly hangMs: number;
  readonly seed: number;
}

export interface Books {
  readonly effects: readonly (LedgerEffect & {
    readonly key: string;
    readonly reference: string;
  })[];
  readonly captureAttempts: number;
  readonly refundAttempts: number;
  /** Calls that were answered from memory because their key was known. */
  readonly repeats: number;
  readonly declined: number;
  /** Captures refused because their refund came first. */
  readonly voided: number;
}

export interface PaymentProvider {
  readonly port: number;
  books(): Books;
  stop(): Promise<void>;
}

interface Call {
  readonly kind: "capture" | "refund";
  readonly key: string;
  readonly orderId: string;
  readonly amountMinor: number;
  readonly currency: string;
  readonly captureKey: string;
  readonly body: string;
}

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, string>>;
}

export function startPaymentProvider(options: ProviderOptions): PaymentProvider {
  const random = createSeededRandom(options.seed);
  const answers = new Map<string, { readonly call: Call; readonly answer: Answer }>();
  const captured = new Map<string, string>();
  const tombstones = new Set<string>();
  const books = {
    effects: [] as Books["effects"][number][],
    captureAttempts: 0,
    refundAttempts: 0,
    repeats: 0,
    declined: 0,
    voided: 0,
  };

  function enter(call: Call, reference: string): void {
    const { kind, key, orderId, amountMinor, currency } = call;
    const effect = { kind, key, orderId, amountMinor, currency, reference };
    appendFileSync(options.ledgerFile, `${JSON.stringify(effect)}\n`);
    books.effects.push(effect);
  }

  function capture(call: Call): Answer {
    if (tombstones.has(call.key)) {
      books.voided++;
      return { status: 402, body: { status: "declined", reason: "voided" } };
    }
    if (isDeclined(call.key, options)) {
      books.declined++;
      return { status: 402, body: { status: "declined", reason: "insufficient_funds" } };
    }
    const reference = `cap-${captured.size + 1}`;
    captured.set(call.key, reference);
    enter(call, reference);
    return { status: 200, body: { status: "captured", reference } };
  }

  function refund(call: Call): Answer {
    const reference = `ref-${answers.size + 1}`;
    if (!captured.has(call.captureKey)) {
      tombstones.add(call.captureKey);
      return { status: 200, body: { status: "nothing_to_refund", reference } };
    }
    enter(call, reference);
    return { status: 200, body: { status: "refunded", reference } };
  }

  /** The effect, once per key; everything here happens in one turn. */
  function perform(call: Call): Answer {
    const known = answers.get(call.key);
    if (known !== undefined) {
      books.repeats++;
      if (known.call.kind === call.kind && known.call.body === call.body) return known.answer;
      return { status: 422, body: { status: "key_reused" } };
    }
    const answer = call.kind === "capture" ? capture(call) : refund(call);
    answers.set(call.key, { call, answer });
    return answer;
  }

  async function handle(call: Call): Promise<Response> {
    if (call.kind === "capture") books.captureAttempts++;
    else books.refundAttempts++;
    await Bun.sleep(options.latencyMs * (1 + random.next()));
    const fails = random.next() < options.failureRate;
    if (fails && random.next() < 0.5) return Response.json({ status: "failed" }, { status: 500 });
    const answer = perform(call);
    if (random.next() < options.hangRate) await Bun.sleep(options.hangMs);
    if (fails) return Response.json({ status: "failed" }, { status: 500 });
    return Response.json(answer.body, { status: answer.status });
  }

  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: options.port,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/ready") return new Response("ready");
      if (pathname === "/ledger") return Response.json(books);
      const call = await readCall(pathname, request);
      return call === undefined ? new Response("not understood", { status: 400 }) : handle(call);
    },
  });
  return {
    port: server.port ?? options.port,
    books: () => structuredClone(books),
    stop: () => server.stop(true),
  };
}

async function readCall(pathname: string, request: Request): Promise<Call | undefined> {
  const kind = new Map<string, Call["kind"]>([
    ["/captures", "capture"],
    ["/refunds", "refund"],
  ]).get(pathname);
  const key = request.headers.get("idempotency-key");
  if (kind === undefined || key === null || request.method !== "POST") return undefined;
  const body = await request.text();
  // Any JSON value; every field that is used is checked below.
  const fields = JSON.parse(body) as Partial<Record<string, unknown>> | null;
  const { orderId, amountMinor, currency, captureKey } = fields ?? {};
  if (typeof orderId !== "string" || typeof amountMinor !== "number") return undefined;
  if (!Number.isSafeInteger(amountMinor) || typeof currency !== "string") return undefined;
  if (kind === "refund" && typeof captureKey !== "string") return undefined;
  return { kind, key, orderId, amountMinor, currency, captureKey: String(captureKey), body };
}

/** The same key is always declined, or never. */
function isDeclined(key: string, options: ProviderOptions): boolean {
  return Bun.hash.crc32(`${options.seed}:${key}`) / 0x1_0000_0000 < options.declineRate;
}
