/**
 * Replies to commands that came as messages: rows beside the effects, found by the message's id.
 *
 * A refusal is a reply like any other and is kept too, so that the same command again gets the same
 * answer. The rows live in the table of idempotency keys and are removed with them, by age.
 */

import type { CommandReply } from "../contracts/order-state.ts";
import type { RowWrite, Table } from "../stores/unit-of-work.ts";

import { decodeValue, encodeValue } from "../contracts/codec.ts";

export const REPLIES: Table = "idempotency";

/** Tells those who wait that there may be a reply: a hint, and nothing but a hint. */
export interface ReplyHints {
  /** Somebody may be waiting for the reply to this message, in any process. Never rejects. */
  tell(messageId: string): Promise<void>;
  /** Calls `onHint` from then on; resolves to what ends it. */
  listen(onHint: (messageId: string) => void): Promise<() => Promise<void>>;
}

/** No customer's key begins like this: theirs begin with a number. */
export function replyKey(messageId: string): string {
  return `command:${messageId}`;
}

/** Fails as a conflict when the command was answered before. */
export function replyRow(messageId: string, reply: CommandReply): RowWrite {
  const data = encodeValue(reply);
  return { table: REPLIES, key: replyKey(messageId), expectedVersion: 0, data };
}

export function decodeReplyRow(data: Uint8Array): CommandReply {
  // Only `replyRow` writes under such a key, and the store keeps what it was given.
  return decodeValue(data) as CommandReply;
}
