/**
 * What the story over all files works with: the shop that is told it, and the files it leaves.
 *
 * Only for tests. A stopped shop's files are read as they are, without the readers that the shop
 * itself uses.
 */

import { Database } from "bun:sqlite";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Json } from "./story-orders.suite.ts";

import { openJournal } from "../actors/stores/journal/journal.ts";
import { EMPTY_UNIT } from "../actors/stores/unit-of-work.ts";
import { systemEnvironment } from "../runtime/system-environment.ts";
import { loadConfig } from "./config/load-config.ts";
import { configureLog } from "./log.ts";
import { logTopicsOf } from "./shop-layout.ts";
import { startShop } from "./shop.ts";

/** A whole shop on `data`, in this process, with two shards. */
export async function openStoryShop(data: string, settings: Readonly<Record<string, string>>) {
  const { config } = loadConfig({
    argv: [],
    env: {
      SHOPSTREAM_DATA: data,
      SHOPSTREAM_PORT: "0",
      SHOPSTREAM_LOG_LEVEL: "error",
      SHOPSTREAM_PAYMENT_LATENCY_KIND: "none",
      SHOPSTREAM_SHIPPING_PACK_MS: "20",
      SHOPSTREAM_SHIPPING_DELIVERY_MS: "20",
      SHOPSTREAM_FRAUD_DENY_CUSTOMERS: "mallory",
      ...settings,
    },
    cwd: data,
    readFile: () => undefined,
  });
  const shop = await startShop({
    config,
    environment: systemEnvironment,
    cores: 3,
    log: configureLog("fatal", "text"),
    onGiveUp: () => undefined,
  });
  const ask = async (path: string, init?: RequestInit) => await fetch(`${shop.url}${path}`, init);
  return {
    stop: () => shop.stop(),
    text: async (path: string) => await (await ask(path)).text(),
    /** Of the shop's own API: objects, what is in them is what the tests look at. */
    json: async (path: string) => (await (await ask(path)).json()) as Json,
    async send(
      method: string,
      path: string,
      body: unknown,
      headers: Readonly<Record<string, string>> = {},
    ) {
      const response = await ask(path, {
        method,
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(body),
      });
      return { status: response.status, body: (await response.json()) as Json };
    },
  };
}

export type StoryShop = Awaited<ReturnType<typeof openStoryShop>>;

/** The rows of a statement on a file of a data directory. */
export function rowsOf<Row>(path: string, sql: string): readonly Row[] {
  const handle = new Database(path, { readonly: true });
  try {
    return handle.prepare<Row, []>(sql).all();
  } finally {
    handle.close(true);
  }
}

const FILES = ["journal", "audit", "analytics"] as const;
/**
 * Full text and its index are left out: their pages may be merged at any time. What is found in
 * them is asked for instead.
 */
const TABLES_SQL = `SELECT name FROM sqlite_schema
  WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'words\\_%' ESCAPE '\\'`;

/** A digest of each table of each store, and of each outbox file; `leftOut` are not looked at. */
export function digestStores(data: string, leftOut: readonly string[]): Record<string, string> {
  const digests: Record<string, string> = {};
  for (const file of FILES) {
    const path = join(data, `${file}.db`);
    for (const { name } of rowsOf<{ name: string }>(path, TABLES_SQL)) {
      if (leftOut.includes(`${file}.${name}`)) continue;
      const rows = rowsOf<Json>(path, `SELECT * FROM "${name}"`);
      const texts = rows.map((row) => JSON.stringify(row, bytesAsHex)).toSorted();
      digests[`${file}.${name}`] = `${rows.length} rows ${Bun.hash(texts.join("\n"))}`;
    }
  }
  for (const line of outboxFiles(data)) digests[line.file] = String(Bun.hash(line.text));
  return digests;
}

function bytesAsHex(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}

function outboxFiles(data: string): readonly { readonly file: string; readonly text: string }[] {
  const directory = join(data, "outbox");
  return readdirSync(directory)
    .toSorted()
    .map((file) => ({ file, text: readFileSync(join(directory, file), "utf8") }));
}

export interface OutboxLine {
  readonly id: string;
  readonly event: string;
  readonly orderId: string;
  readonly to: string;
  readonly language: string;
  readonly text: string;
}

/** Every text that was put into a file, of any channel. */
export function outboxLines(data: string): readonly OutboxLine[] {
  return outboxFiles(data).flatMap(({ text }) =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as OutboxLine),
  );
}

export interface LoggedRecord {
  readonly topic: string;
  readonly frame: Uint8Array;
}

const SLOTS = 64;
const UNIT_FRAMES = 50;

/** Every record of the log, in order of arrival. */
export function loggedRecords(data: string): readonly LoggedRecord[] {
  const path = join(data, "journal.db");
  const topics = rowsOf<{ name: string }>(path, "SELECT name FROM topic ORDER BY id");
  const rows = rowsOf<{ part: number; frame: Uint8Array }>(
    path,
    "SELECT part, bytes AS frame FROM log ORDER BY id",
  );
  return rows.map(({ part, frame }) => {
    const topic = topics[Math.floor(part / SLOTS)]?.name;
    if (topic === undefined) throw new Error(`part ${part} belongs to no topic`);
    return { topic, frame };
  });
}

/** Publishes `records` once more, as they are. The shop must be stopped. */
export function publishAgain(data: string, records: readonly LoggedRecord[]): void {
  const keepMs = Number.MAX_SAFE_INTEGER;
  const journal = openJournal({
    directory: data,
    slots: SLOTS,
    topics: logTopicsOf({ brokers: [] }),
    environment: systemEnvironment,
    retention: {
      logAgeMs: keepMs,
      logBytesMax: keepMs,
      inboxAgeMs: keepMs,
      idempotencyAgeMs: keepMs,
      fraudAgeMs: keepMs,
      deadLettersMax: keepMs,
    },
  });
  try {
    for (let at = 0; at < records.length; at += UNIT_FRAMES) {
      const outgoing = records.slice(at, at + UNIT_FRAMES);
      const [outcome] = journal.commit([{ unit: { ...EMPTY_UNIT, outgoing }, acks: [] }]);
      if (outcome?.kind !== "committed") throw new Error(`not published: ${outcome?.kind}`);
    }
  } finally {
    journal.close();
  }
}
