/**
 * The indices of the audit: their template, the index of sealed heads, and how old ones go.
 *
 * Mappings are strict: what is not listed is not taken. Old indices are deleted by the server's own
 * lifecycle (ILM of Elasticsearch, ISM of OpenSearch) where it has one, otherwise by whoever feeds
 * the audit. Refuses to go on where the server lets nobody make a template.
 */

import type { ElasticLink } from "./elastic-link.ts";
import type { ElasticSettings } from "./elastic-settings.ts";

import { PREFIX_CHARS_MIN } from "../audit-limits.ts";

/** Over the templates of others that match everything. */
const TEMPLATE_PRIORITY = 200;
/** Longer texts are kept, but not found by. */
const KEYWORD_CHARS_MAX = 8_000;
/** Longer beginnings of words are looked up in the list of words. */
const PREFIX_CHARS_MAX = 12;
/** So that whoever feeds the audit has noted what goes before the server takes it. */
const LIFECYCLE_MARGIN_DAYS = 2;
const PERIOD_DAYS = { month: 31, day: 1 };
/** What a server answers that has no such thing, or does not let us. */
const NO_LIFECYCLE = [400, 403, 404, 405, 500, 501];

export type Retention = "none" | "server" | "own";

/** All indices of records: their names begin with a year. */
export function recordsPattern({ prefix }: Pick<ElasticSettings, "prefix">): string {
  return `${prefix}-2*`;
}

/** Holds the sealed heads. */
export function stateIndex({ prefix }: Pick<ElasticSettings, "prefix">): string {
  return `${prefix}_state`;
}

/** Makes what is missing; rejects with `SERVER_UNUSABLE`. */
export async function prepareIndices(
  link: ElasticLink,
  settings: ElasticSettings,
): Promise<Retention> {
  const retention = await prepareLifecycle(link, settings);
  await link.prepare({
    method: "PUT",
    path: `/_index_template/${settings.prefix}`,
    body: templateOf(settings, retention === "server" && link.product === "elasticsearch"),
  });
  const path = `/${stateIndex(settings)}`;
  if ((await link.prepare({ method: "GET", path, allowed: [404] })) === 404) {
    // Two members may make it at once.
    await link.prepare({ method: "PUT", path, body: stateBody(settings), allowed: [400] });
  }
  return retention;
}

export function templateOf(settings: ElasticSettings, hasPolicy: boolean): object {
  const policy = {
    "index.lifecycle.name": settings.prefix,
    "index.lifecycle.parse_origination_date": true,
  };
  return {
    index_patterns: [recordsPattern(settings)],
    priority: TEMPLATE_PRIORITY,
    template: {
      settings: {
        // Without an interval of its own an index that nobody searches is not made searchable all
        // the time, which costs a third of storing; our readers ask for it when they search.
        ...shapeOf(settings),
        ...(hasPolicy ? policy : {}),
      },
      mappings: RECORD_MAPPINGS,
    },
  };
}

function shapeOf({ shards, replicas }: ElasticSettings) {
  return {
    "index.number_of_shards": shards,
    "index.number_of_replicas": replicas,
    // What was acknowledged has been synced.
    "index.translog.durability": "request",
  };
}

/** Sorted or counted by, and never looked for. */
const UNSOUGHT = { index: false };
/** Looked for, and never sorted or counted by. */
const SOUGHT = { doc_values: false };
const KEPT = { type: "keyword", index: false, doc_values: false };
const KEYWORD = { type: "keyword", ignore_above: KEYWORD_CHARS_MAX };
const LONG = { type: "long" };

const RECORD_MAPPINGS = {
  dynamic: "strict",
  properties: {
    seq: LONG,
    chain: KEYWORD,
    place: { ...LONG, ...UNSOUGHT },
    prev: KEPT,
    hash: KEPT,
    topic: { ...KEYWORD, ...UNSOUGHT },
    partition: { type: "integer", ...UNSOUGHT },
    sequence: LONG,
    type: { type: "integer", ...SOUGHT },
    at: { ...LONG, ...SOUGHT },
    // For people: by it they may look from outside.
    storedAt: { type: "date", format: "epoch_millis" },
    identity: KEPT,
    message: KEYWORD,
    content: { ...KEYWORD, ...UNSOUGHT },
    orderId: { ...KEYWORD, ...SOUGHT },
    customerId: { ...KEYWORD, ...SOUGHT },
    fault: { ...KEYWORD, ...SOUGHT },
    frame: { type: "binary" },
    packed: { type: "binary" },
    texts: {
      type: "text",
      // Words are folded before they come here.
      analyzer: "whitespace",
      norms: false,
      index_prefixes: { min_chars: PREFIX_CHARS_MIN, max_chars: PREFIX_CHARS_MAX },
    },
  },
};

function stateBody(settings: ElasticSettings): object {
  return {
    settings: { ...shapeOf(settings), "index.number_of_shards": 1 },
    mappings: {
      dynamic: "strict",
      properties: {
        kind: KEYWORD,
        chain: KEYWORD,
        place: LONG,
        sequence: LONG,
        seq: LONG,
        hash: KEPT,
      },
    },
  };
}

async function prepareLifecycle(link: ElasticLink, settings: ElasticSettings): Promise<Retention> {
  if (settings.retentionDays === 0) return "none";
  const path =
    link.product === "elasticsearch"
      ? `/_ilm/policy/${settings.prefix}`
      : `/_plugins/_ism/policies/${settings.prefix}`;
  const body = link.product === "elasticsearch" ? ilmPolicy(settings) : ismPolicy(settings);
  // A policy of OpenSearch that is there stays as it is: it is written over only by its version.
  const allowed = [409, ...NO_LIFECYCLE];
  const status = await link.prepare({ method: "PUT", path, body, allowed });
  return NO_LIFECYCLE.includes(status) ? "own" : "server";
}

/** Counted from the day in the name. */
export function ilmPolicy({ retentionDays, period }: ElasticSettings): object {
  const ageDays = PERIOD_DAYS[period] + retentionDays + LIFECYCLE_MARGIN_DAYS;
  return {
    policy: {
      phases: {
        hot: { min_age: "0ms", actions: {} },
        delete: { min_age: `${ageDays}d`, actions: { delete: {} } },
      },
    },
  };
}

/** Counted from when the index was made. */
export function ismPolicy(settings: ElasticSettings): object {
  const ageDays = PERIOD_DAYS[settings.period] + settings.retentionDays + LIFECYCLE_MARGIN_DAYS;
  return {
    policy: {
      description: "audit records go when they are old",
      default_state: "kept",
      states: [
        {
          name: "kept",
          actions: [],
          transitions: [{ state_name: "gone", conditions: { min_index_age: `${ageDays}d` } }],
        },
        { name: "gone", actions: [{ delete: {} }], transitions: [] },
      ],
      ism_template: [{ index_patterns: [recordsPattern(settings)], priority: TEMPLATE_PRIORITY }],
    },
  };
}
