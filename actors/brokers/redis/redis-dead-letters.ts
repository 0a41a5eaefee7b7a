/**
 * Dead letters as they are kept on Redis: one stream per topic, numbered like the logs.
 *
 * Refuses entries that this adapter did not write.
 */

import type { DeadLetter } from "../broker.ts";

import { sequenceOf } from "./redis-keys.ts";
import { bytes, list, text, whole } from "./redis-reply.ts";

/** Of an answer to `XRANGE`. */
export function lettersOf(topic: string, reply: unknown): readonly DeadLetter[] {
  return list(reply).map((entry) => {
    const [id, flat] = list(entry);
    const fields = fieldsOf(flat);
    return {
      id: sequenceOf(text(id)),
      group: text(fields.get("group")),
      topic,
      partition: whole(fields.get("partition")),
      sequence: whole(fields.get("sequence")),
      bytes: bytes(fields.get("bytes")),
      burial: {
        reason: text(fields.get("reason")),
        attempts: whole(fields.get("attempts")),
        firstError: text(fields.get("first")),
        lastError: text(fields.get("last")),
      },
      buriedAtMs: whole(fields.get("at")),
    };
  });
}

function fieldsOf(reply: unknown): ReadonlyMap<string, unknown> {
  const flat = list(reply);
  const fields = new Map<string, unknown>();
  for (let at = 0; at + 1 < flat.length; at += 2) fields.set(text(flat[at]), flat[at + 1]);
  return fields;
}
