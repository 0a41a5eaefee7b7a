/**
 * A frame as the audit keeps it: the same message without the fields that must stay hidden.
 *
 * The audit is for ever, and what charges a card or reaches a person must not be. Those fields are
 * dropped from the payload; header, id, times and key stay, and the same frame always gives the
 * same bytes. Only types whose contract has such a field are written anew. Not for bytes whose
 * payload cannot be read: nobody can say where in them a secret is.
 */

import type { TSchema } from "@sinclair/typebox";
import type { Frame } from "../../runtime/frames/frame-header.ts";
import type { ShopEvent } from "../contracts/messages.ts";

import { FLAG_JSON } from "../../runtime/frames/frame-header.ts";
import { frameWithPayload } from "../../runtime/frames/frame.ts";
import { encodeValue } from "../contracts/codec.ts";
import { HIDDEN_FIELDS } from "../contracts/fields.ts";
import { EVENTS } from "../contracts/messages.ts";
import { withoutHidden } from "./audit-text.ts";

/** Numbers of the events that may carry a hidden field. */
const SECRETIVE_TYPES: ReadonlySet<number> = new Set(
  EVENTS.filter(({ schema }) => mayHide(schema)).map(({ number }) => number),
);

/** `bytes` without hidden fields: themselves when there is none. `frame` and `event` are theirs. */
export function redactedFrame(bytes: Uint8Array, frame: Frame, event: ShopEvent): Uint8Array {
  if (!SECRETIVE_TYPES.has(frame.type)) return bytes;
  const { type: _inHeader, ...fields } = event;
  const kept = withoutHidden(fields);
  if (kept === fields) return bytes;
  const isJson = (frame.flags & FLAG_JSON) !== 0;
  return frameWithPayload(
    bytes,
    isJson ? new TextEncoder().encode(JSON.stringify(kept)) : encodeValue(kept),
  );
}

function mayHide(schema: TSchema): boolean {
  const fields: Readonly<Record<string, TSchema>> = schema["properties"] ?? {};
  const parts: readonly TSchema[] = [schema["items"], ...(schema["anyOf"] ?? [])].filter(
    (part) => part !== undefined,
  );
  return (
    Object.entries(fields).some(([name, field]) => HIDDEN_FIELDS.has(name) || mayHide(field)) ||
    parts.some((part) => mayHide(part))
  );
}
