/**
 * What of an event may be read: which of its texts can be searched for, and what is hidden.
 *
 * Fields that identify a means of payment or reach a person are hidden by name, wherever they
 * stand: they are neither indexed nor shown. Words are folded here, for the index and for the query
 * alike: lower case, without diacritics, letters and digits only; everything else separates.
 */

import type { ShopEvent } from "../contracts/messages.ts";

import { HIDDEN_FIELDS } from "../contracts/fields.ts";
import { TEXT_CHARS_MAX, TEXTS_MAX } from "./audit-limits.ts";

const REDACTED = "[redacted]";
/** Ids that are searched for by name, that nobody would type, or that come by the hundred. */
const ID_FIELDS: ReadonlySet<string> = new Set(["orderId", "customerId", "customers", "batchId"]);

const UNREAD: ReadonlySet<string> = new Set([...HIDDEN_FIELDS, ...ID_FIELDS]);
/** The type of an event has a column of its own. */
const NOT_THE_EVENTS: ReadonlySet<string> = new Set([...UNREAD, "type"]);

const NOT_ASCII = /[\u0080-\uffff]/;
const MARKS = /\p{M}+/gu;
const WORDS = /[\p{L}\p{N}\p{Co}]+/gu;
const ASCII_WORDS = /[a-z0-9]+/g;
const NOTHING: readonly string[] = [];

/** The words of `text` in order, folded. */
export function wordsOf(text: string): readonly string[] {
  if (!NOT_ASCII.test(text)) return text.toLowerCase().match(ASCII_WORDS) ?? NOTHING;
  return text.normalize("NFKD").replace(MARKS, "").toLowerCase().match(WORDS) ?? NOTHING;
}

/** `text` as the index takes it: it finds the same words in it as `wordsOf`. */
export function foldText(text: string): string {
  return NOT_ASCII.test(text) ? wordsOf(text).join(" ") : text;
}

/** The texts of `event` that can be searched for, each once; those past the bounds are left out. */
export function textsOf(event: ShopEvent): readonly string[] {
  const found = { texts: new Set<string>(), charsLeft: TEXT_CHARS_MAX };
  collectFields(event, found, NOT_THE_EVENTS);
  return [...found.texts];
}

interface FoundTexts {
  readonly texts: Set<string>;
  charsLeft: number;
}

function collectFields(fields: object, found: FoundTexts, isUnread: ReadonlySet<string>): void {
  // Decoded fields have no prototype but the plain one; a loop over names makes no pairs.
  for (const name in fields) {
    if (!isUnread.has(name)) collect(Reflect.get(fields, name), found);
  }
}

function collect(value: unknown, found: FoundTexts): void {
  if (typeof value === "string") {
    const { texts, charsLeft } = found;
    if (texts.size >= TEXTS_MAX || value.length > charsLeft || texts.has(value)) return;
    found.charsLeft -= value.length;
    texts.add(value);
  } else if (Array.isArray(value)) {
    // A batch of behaviour has long columns of numbers.
    for (const item of value) if (typeof item !== "number") collect(item, found);
  } else if (typeof value === "object" && value !== null) collectFields(value, found, UNREAD);
}

/** `event` as it may be shown, without its type. */
export function redactEvent(event: ShopEvent): Readonly<Record<string, unknown>> {
  const { type: _hasColumn, ...fields } = event;
  return redactFields(fields);
}

/** `fields` without those that are hidden, at any depth; themselves when there is none. */
export function withoutHidden(fields: object): object {
  let isWhole = true;
  const kept: [string, unknown][] = [];
  for (const [name, value] of Object.entries(fields)) {
    const shown = HIDDEN_FIELDS.has(name) ? undefined : withoutHiddenValue(value);
    if (shown !== value) isWhole = false;
    if (!HIDDEN_FIELDS.has(name)) kept.push([name, shown]);
  }
  return isWhole ? fields : Object.fromEntries(kept);
}

function withoutHiddenValue(value: unknown): unknown {
  if (Array.isArray(value)) {
    const shown: readonly unknown[] = value.map((item) => withoutHiddenValue(item));
    return shown.every((item, at) => item === value[at]) ? value : shown;
  }
  return typeof value === "object" && value !== null ? withoutHidden(value) : value;
}

function redactFields(fields: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      HIDDEN_FIELDS.has(name) ? REDACTED : redactValue(value),
    ]),
  );
}

function redactValue(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => redactValue(item));
  return typeof value === "object" && value !== null ? redactFields(value) : value;
}
