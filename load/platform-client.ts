/**
 * The stores around the orders as a load run reads them: views, notifications, books.
 *
 * Reads strictly, like `shop-client.ts`. Bounded: an order's records of the audit are one page, and
 * the chain is verified slice by slice, each within what the shop allows.
 */

import { ShopError } from "../runtime/errors.ts";
import { ask, fields, flag, list, number, optional, parse, text } from "./answer-fields.ts";
import { minorOf } from "./evidence.ts";
import type { Fields } from "./answer-fields.ts";
import type { HttpPool, HttpRequest } from "./http-pool.ts";
import type {
  AuditedEvent,
  AuditStanding,
  BookRow,
  BooksState,
  ChainState,
  Figures,
  Notice,
  Tally,
  ViewState,
} from "./platform-evidence.ts";

export interface PlatformClient {
  /** How far each view is, as it counted last. */
  readViews(): Promise<readonly ViewState[]>;
  /** Everything that is compared, counted from the hour of `sinceMs` on. */
  readFigures(sinceMs: number): Promise<Figures>;
  readAudit(): Promise<AuditStanding>;
  /** Verifies everything that came after `since`. */
  verifyChain(since: AuditStanding): Promise<ChainState>;
  readAudited(orderId: string): Promise<readonly AuditedEvent[]>;
  readNotices(orderId: string): Promise<readonly Notice[]>;
  readBooks(): Promise<BooksState>;
  countDeadLetters(): Promise<number>;
}

/** Metric, and the dimension by which it is told apart. */
const QUESTIONS: readonly (readonly [metric: string, groupBy?: string])[] = [
  ["orders"],
  ["revenue"],
  ["payments", "status"],
  ["reservations", "status"],
  ["shipments"],
  ["unreadable"],
];
const MONEY: readonly string[] = ["orders", "revenue", "payments"];
/** An order has some ten events; a page that is full says that something is badly wrong. */
const AUDITED_MAX = 100;
/** Of the last records, looked at for the highest number. */
const NEWEST = 10;
const LAG = /^shopstream_view_lag_records\{view="([^"]+)"\} (\S+)$/gm;
const FAILING = /^shopstream_view_failing\{view="([^"]+)"\} (\S+)$/gm;

/** `head`: how many records there are in all. */
interface ChainWalk {
  readonly head: number;
  readonly verified: number;
  readonly upTo: number;
  readonly problem?: string;
}

export function createPlatformClient(pool: Pick<HttpPool, "request">): PlatformClient {
  const read = async (path: string): Promise<Fields> =>
    fields(parse(await ask(pool, { method: "GET", path }, [200])));

  async function verifySlice(fromSeq: number): Promise<Fields> {
    const body = JSON.stringify({ fromSeq });
    const request: HttpRequest = { method: "POST", path: "/admin/audit/verify", body };
    return fields(parse(await ask(pool, request, [200])));
  }

  /** Verifies slice by slice what is numbered higher than `afterSeq`. */
  async function walk(afterSeq: number): Promise<ChainWalk> {
    let verified = 0;
    let upTo = 0;
    for (let fromSeq = afterSeq + 1; ;) {
      const slice = await verifySlice(fromSeq);
      verified += number(slice, "verified");
      upTo = Math.max(upTo, number(slice, "upTo"));
      const head = number(fields(slice["head"]), "count");
      const next = optional(slice, "next", number);
      if (!flag(slice, "ok")) {
        const { seq, fault, detail } = fields(slice["problem"]);
        const problem = `record ${String(seq)}, ${String(fault)}: ${String(detail)}`;
        return { head, verified, upTo, problem };
      }
      if (next === undefined) return { head, verified, upTo };
      if (next <= fromSeq) throw new ShopError("BAD_MESSAGE", `verify stands still`, "never");
      fromSeq = next;
    }
  }

  return {
    async readViews() {
      const { body } = await ask(pool, { method: "GET", path: "/metrics" }, [200]);
      const failing = new Map([...body.matchAll(FAILING)].map(([, view, value]) => [view, value]));
      return [...body.matchAll(LAG)].map(([, view = "", records]) => ({
        view,
        lagRecords: Number(records),
        isFailing: failing.get(view) !== "0",
      }));
    },
    async readFigures(sinceMs) {
      const figures = new Map<string, Tally>();
      for (const [metric, groupBy] of QUESTIONS) {
        const answer = await read(`/v1/analytics/query?${questionOf(metric, groupBy, sinceMs)}`);
        for (const row of list(answer, "rows").map(fields)) {
          figures.set(nameOf(metric, row), tallyOf(metric, row));
        }
      }
      return figures;
    },
    async readAudit() {
      const count = number(await read("/v1/audit/head"), "count");
      const page = await read(`/v1/audit?limit=${NEWEST}`);
      const shown = list(page, "records").map((record) => number(fields(record), "seq"));
      const shownLast = Math.max(0, ...shown);
      // What is shown once may be kept twice, the second time behind everything that is shown.
      const lastSeq = Math.max(shownLast, (await walk(shownLast)).upTo);
      return { count, lastSeq };
    },
    async verifyChain(since) {
      const { head, verified, problem } = await walk(since.lastSeq);
      const grown = head - since.count;
      return { grown, verified, ...(problem === undefined ? {} : { problem }) };
    },
    async readAudited(orderId) {
      const page = await read(`/v1/audit?orderId=${orderId}&limit=${AUDITED_MAX}`);
      return list(page, "records").map(auditedFrom);
    },
    async readNotices(orderId) {
      const ledger = await read(`/v1/orders/${orderId}/notifications`);
      return list(ledger, "notifications").map(noticeFrom);
    },
    async readBooks() {
      const ledger = await read("/admin/ledger");
      return {
        isBalanced: flag(ledger, "balanced"),
        rows: list(ledger, "rows").map((row) => bookFrom(row, true)),
        totals: list(ledger, "totals").map((row) => bookFrom(row, false)),
      };
    },
    async countDeadLetters() {
      return number(await read("/admin/dead-letters/summary"), "total");
    },
  };
}

function questionOf(metric: string, groupBy: string | undefined, sinceMs: number): string {
  const from = new Date(sinceMs).toISOString();
  const query = new URLSearchParams({ metric, from, granularity: "range" });
  if (groupBy !== undefined) query.set("groupBy", groupBy);
  if (MONEY.includes(metric)) query.set("aggregates", "count,sum");
  return query.toString();
}

function nameOf(metric: string, row: Fields): string {
  const value = optional(row, "value", text);
  const currency = optional(row, "currency", text);
  return [value === undefined ? metric : `${metric}/${value}`, currency ?? ""].join(" ").trim();
}

function tallyOf(metric: string, row: Fields): Tally {
  const sumMinor = MONEY.includes(metric) ? minorOf(row["sum"]) : 0;
  return { count: number(row, "count"), sumMinor };
}

function auditedFrom(value: unknown): AuditedEvent {
  const record = fields(value);
  const data = record["data"] === undefined ? {} : fields(record["data"]);
  return {
    type: text(record, "type"),
    customerId: optional(record, "customerId", text),
    fault: optional(record, "fault", text),
    amountMinor: optional(data, "totalMinor", number) ?? optional(data, "amountMinor", number),
  };
}

function noticeFrom(value: unknown): Notice {
  const entry = fields(value);
  return {
    id: text(entry, "id"),
    event: text(entry, "event"),
    channel: text(entry, "channel"),
    status: text(entry, "status"),
    reason: optional(entry, "reason", text),
  };
}

function bookFrom(value: unknown, isRow: boolean): BookRow {
  const from = fields(value);
  const group = text(from, "group");
  return {
    name: isRow ? `${group} ${text(from, "topic")}/${number(from, "partition")}` : group,
    group,
    published: number(from, "published"),
    acked: number(from, "acked"),
    dead: number(from, "dead"),
    inFlight: number(from, "inFlight"),
    waiting: number(from, "waiting"),
    imbalance: optional(from, "imbalance", text),
  };
}
