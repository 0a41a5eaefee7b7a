/**
 * How the gateway has anything changed: one command to the shard that owns its key, one answer.
 *
 * Apart from the other ports, since whoever sends commands may be one of those. It promises no
 * effect without an answer, and none for an answer that came too late.
 */

import type { ShopCommand } from "../../actors/contracts/messages.ts";
import type { CommandReply } from "../../actors/contracts/order-state.ts";

export interface CommandOptions {
  /** How long an answer is waited for, in ms from now; after that the command is worthless. */
  readonly deadlineMs: number;
  readonly correlationId: string;
  /** A W3C trace context, checked; absent when the caller sent none. */
  readonly traceparent?: string;
}

export interface CommandPort {
  /**
   * Hands `command` to the shard that owns its key and resolves with the answer, after the commit.
   * Rejects with `SATURATED` or `MAILBOX_FULL` (nothing was taken), `ASK_TIMEOUT` (no answer in
   * time), `INDETERMINATE`, `STORAGE_FULL`, `STORAGE_FAULT` or `CLOSED`.
   */
  send(command: ShopCommand, options: CommandOptions): Promise<CommandReply>;
}
