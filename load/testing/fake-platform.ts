/**
 * The stores around the fake shop's orders, made up anew from their timelines whenever asked.
 *
 * Only the outbox is written down, because it is read as files. Each lie breaks one promise about
 * one of these stores, and leaves the orders themselves alone.
 */

import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { FakeOrder, Lie, TimelineRecord } from "./fake-life.ts";

export interface FakePlatform {
  /** `undefined`: none of its paths. */
  answer(method: string, url: URL, body: () => Promise<unknown>): Promise<Response | undefined>;
  /** Writes down what is told about `entry`, before anything else does. */
  tell(order: FakeOrder, entry: TimelineRecord): void;
  metrics(): string;
}

interface Told {
  readonly id: string;
  readonly event: string;
  readonly channel: string;
  readonly status: string;
}

const HASH = "00".repeat(32);
const MOVES: readonly string[] = ["order.shipped", "order.delivered", "order.cancelled"];
const MAILS: readonly string[] = ["order.created", "payment.refunded", ...MOVES];

export function createFakePlatform(
  orders: ReadonlyMap<string, FakeOrder>,
  lies: readonly Lie[],
  dataDirectory?: string,
): FakePlatform {
  const outbox = dataDirectory === undefined ? undefined : join(dataDirectory, "outbox");
  const written = new Set(outbox === undefined ? [] : idsIn(outbox));
  const tells = (order: FakeOrder, lie: Lie): boolean => order.lying && lies.includes(lie);
  const countRecords = (): number => [...orders.values()].flatMap(typesOf).length;
  /** Of all records: by their times and far apart, as of a store that has many chains. */
  const numbers = (): readonly number[] =>
    [...orders.values()].flatMap((order) => numbersOf(order).map(({ seq }) => seq));
  const isLyingNow = (): boolean => [...orders.values()].some(({ lying }) => lying);

  function auditOf(order: FakeOrder): readonly { readonly seq: number }[] {
    const { id: orderId, customerId, totalMinor } = order;
    const records = numbersOf(order);
    const kept = tells(order, "forget_event") ? records.slice(1) : records;
    return kept.map(({ type, seq }) => ({
      seq,
      type,
      orderId,
      customerId,
      data: type === "order.created" ? { totalMinor } : { amountMinor: totalMinor },
    }));
  }

  function figures(metric: string): readonly object[] {
    const rows = new Map<
      string,
      { value?: string; currency?: string; count: number; minor: number }
    >();
    for (const { timeline, totalMinor, currency } of orders.values()) {
      for (const { type, data } of timeline) {
        const status = String(data["status"]);
        const value = ["payments", "reservations"].includes(metric) ? status : undefined;
        const isMoney = ["orders", "revenue", "payments"].includes(metric);
        if (!isCounted(metric, type, status)) continue;
        const key = `${value}/${isMoney ? currency : ""}`;
        const row = rows.get(key) ?? { count: 0, minor: 0 };
        rows.set(key, {
          ...(value === undefined ? {} : { value }),
          ...(isMoney ? { currency } : {}),
          count: row.count + 1,
          minor: row.minor + totalMinor,
        });
      }
    }
    const extra = lies.includes("invent_revenue") && metric === "revenue" && isLyingNow() ? 1 : 0;
    return [...rows.values()].map(({ minor, ...row }) => ({ ...row, sum: (minor + extra) / 100 }));
  }

  function newest(limit: number): readonly object[] {
    const all = [...orders.values()].flatMap(auditOf);
    return all.toSorted((one, other) => other.seq - one.seq).slice(0, limit);
  }

  function verify(fromSeq: number): object {
    const head = { count: countRecords(), hash: HASH };
    const verified = numbers().filter((seq) => seq >= fromSeq).length;
    const upTo = Math.max(0, ...numbers());
    if (!lies.includes("break_chain")) return { ok: true, verified, upTo, head };
    const problem = { seq: 1, fault: "altered", detail: "its hash is another" };
    return { ok: false, verified: 0, upTo: 0, head, problem };
  }

  function books(): object {
    const count = countRecords();
    const acked = count - (lies.includes("lose_record") ? 1 : 0);
    const row = { group: "order", published: count, acked, dead: 0, inFlight: 0, waiting: 0 };
    return { balanced: true, rows: [{ ...row, topic: "orders", partition: 0 }], totals: [row] };
  }

  function notices(order: FakeOrder): readonly Told[] {
    const all = order.timeline.flatMap((entry) => toldOf(order, entry));
    return tells(order, "tell_twice") ? [...all, ...all.slice(0, 1)] : all;
  }

  function read(url: URL): object | undefined {
    const [, root = "", kind = "", id = "", part = ""] = url.pathname.split("/");
    const orderId = url.searchParams.get("orderId");
    const order = orders.get(orderId ?? id);
    switch (part === "" ? `${root}/${kind}${id === "" ? "" : `/${id}`}` : part) {
      case "v1/analytics/query":
        return { rows: figures(url.searchParams.get("metric") ?? "") };
      case "v1/audit/head":
        return { count: countRecords(), hash: HASH };
      case "v1/audit":
        if (orderId === null) return { records: newest(Number(url.searchParams.get("limit"))) };
        return { records: order === undefined ? [] : auditOf(order) };
      case "notifications":
        return { orderId: id, notifications: order === undefined ? [] : notices(order) };
      case "admin/ledger":
        return books();
      case "admin/dead-letters/summary":
        return { total: lies.includes("bury") && isLyingNow() ? 1 : 0, kinds: [] };
      default:
        return undefined;
    }
  }

  return {
    async answer(method, url, readBody) {
      if (method === "POST") {
        if (url.pathname !== "/admin/audit/verify") return undefined;
        // Comes from this repository's own load scripts.
        const { fromSeq } = (await readBody()) as { readonly fromSeq: number };
        return Response.json(verify(fromSeq));
      }
      const body = read(url);
      return body === undefined ? undefined : Response.json(body);
    },
    tell(order, entry) {
      if (outbox === undefined) return;
      for (const { id, channel, status } of toldOf(order, entry)) {
        if (status !== "sent" || written.has(id)) continue;
        written.add(id);
        mkdirSync(outbox, { recursive: true });
        const line = `${JSON.stringify({ id })}\n`;
        const times = tells(order, "write_twice") ? 2 : 1;
        appendFileSync(join(outbox, `${channel}-0.jsonl`), line.repeat(times));
      }
    },
    metrics() {
      const behind = lies.includes("lag_behind") ? 1 : 0;
      return ["audit", "analytics"]
        .flatMap((view) => [
          `shopstream_view_lag_records{view="${view}"} ${behind}\n`,
          `shopstream_view_failing{view="${view}"} 0\n`,
        ])
        .join("");
    },
  };
}

const REPORTS: Readonly<Record<string, string>> = {
  "order.shipped": "shipment.packed",
  "order.delivered": "shipment.delivered",
};
const NUMBERS_PER_MS = 1_000;

/** What happened, with the reports of the carrier. */
function typesOf(order: FakeOrder): readonly string[] {
  return numbersOf(order).map(({ type }) => type);
}

function numbersOf({ timeline }: FakeOrder): readonly {
  readonly type: string;
  readonly seq: number;
}[] {
  return timeline.flatMap(({ type, atMs, version }) => {
    const seq = Math.floor(atMs) * NUMBERS_PER_MS + 2 * version;
    const report = REPORTS[type];
    return [{ type, seq }, ...(report === undefined ? [] : [{ type: report, seq: seq + 1 }])];
  });
}

function isCounted(metric: string, type: string, status: string): boolean {
  switch (metric) {
    case "orders":
      return type === "order.created";
    case "revenue":
      return type === "payment.processed" && status === "completed";
    case "payments":
      return type === "payment.processed";
    case "reservations":
      return type === "inventory.reserved";
    default:
      return metric === "shipments" && type === "order.shipped";
  }
}

function toldOf(order: FakeOrder, { type, data }: TimelineRecord): readonly Told[] {
  const isFailure = type === "payment.processed" && data["status"] === "failed";
  const event = isFailure ? "payment.failed" : type;
  const channels = [
    ...(isFailure || MAILS.includes(type) ? ["email"] : []),
    ...(MOVES.includes(type) ? ["sms", "push"] : []),
  ];
  return channels.map((channel) => {
    const isReached = channel === "email" || order.contact !== undefined;
    const status = isReached ? "sent" : "skipped";
    return { id: `${order.id}/${event}/${channel}`, event, channel, status };
  });
}

function idsIn(outbox: string): readonly string[] {
  return ["email", "sms", "push"].flatMap((channel) => {
    const file = join(outbox, `${channel}-0.jsonl`);
    if (!existsSync(file)) return [];
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    // Written by `tell` above.
    return lines.map((line) => (JSON.parse(line) as { readonly id: string }).id);
  });
}
