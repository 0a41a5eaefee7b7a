/**
 * Takes batches of behaviour from the gateway and publishes each as one message.
 *
 * Answered after the commit. A command with a fingerprint leaves a row under its batch id: sent
 * again it publishes nothing and is answered the same, for as long as idempotency keys are kept;
 * with another fingerprint it is refused. Columns that do not fit each other are refused as a bug
 * of their sender.
 */

import type { CommandOf } from "../contracts/messages.ts";
import type { CommandReply } from "../contracts/order-state.ts";
import type { CommandOrigin } from "../order/order-service.ts";
import type { Environment } from "../../runtime/environment.ts";
import type { RowWrite, Store } from "../stores/unit-of-work.ts";

import { describeError, isShopError, ShopError } from "../../runtime/errors.ts";
import { decodeValue, encodeValue } from "../contracts/codec.ts";
import { encodeEvent } from "../delivery/decode-message.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { checkColumns } from "./behavior-columns.ts";

export interface BehaviorServiceOptions {
  readonly store: Store;
  readonly environment: Environment;
  readonly slots: number;
}

export interface BehaviorService {
  /** Everything that can be expected is a reply, but `CLOSED`. */
  command(command: CommandOf<"behavior.record">, origin: CommandOrigin): Promise<CommandReply>;
}

/** What is kept of a batch that may come again. */
interface KeptBatch {
  readonly fingerprint: string;
  readonly events: number;
}

export function createBehaviorService(options: BehaviorServiceOptions): BehaviorService {
  const { store, environment, slots } = options;

  async function record(
    command: CommandOf<"behavior.record">,
    { cause }: CommandOrigin,
  ): Promise<CommandReply> {
    const { fingerprint, type: _, ...batch } = command;
    checkColumns(batch);
    const events = batch.offsetMs.length;
    const keep = fingerprint === undefined ? undefined : { fingerprint, events };
    const kept = keep && (await answerKept(batch.batchId, keep));
    if (kept !== undefined) return kept;
    const event = { type: "user.behavior", ...batch } as const;
    const answer = await store.commit(
      {
        ...EMPTY_UNIT,
        rows: keep === undefined ? [] : [keptRow(batch.batchId, keep)],
        outgoing: [encodeEvent(event, { environment, slots, cause })],
      },
      [],
    );
    if (answer.kind === "committed") return { kind: "recorded", events };
    const winner = keep && (await answerKept(batch.batchId, keep));
    if (winner !== undefined) return winner;
    throw new ShopError("VERSION_CONFLICT", `batch ${batch.batchId} came and went`, "later");
  }

  /** The answer to a batch that has come before. */
  async function answerKept(batchId: string, now: KeptBatch): Promise<CommandReply | undefined> {
    const [row] = await store.load("idempotency", [rowKey(batchId)]);
    if (row === undefined) return undefined;
    const kept = decodeValue(row.data) as KeptBatch; // only this file writes rows under such keys
    if (kept.fingerprint === now.fingerprint) return { kind: "recorded", events: kept.events };
    return refused("idempotency_mismatch", "the key came with another body before");
  }

  return {
    async command(command, origin) {
      const { deadlineMs } = origin;
      if (deadlineMs !== 0 && environment.nowMs() > deadlineMs) {
        return refused("expired", "the command waited past its deadline");
      }
      try {
        return await record(command, origin);
      } catch (error) {
        if (!isShopError(error) || error.code === "CLOSED") throw error;
        const code = error.retry === "later" ? "storage_unavailable" : "failed";
        return refused(code, describeError(error));
      }
    },
  };
}

function keptRow(batchId: string, kept: KeptBatch): RowWrite {
  const key = rowKey(batchId);
  return { table: "idempotency", key, expectedVersion: 0, data: encodeValue(kept) };
}

/** Beside the keys of orders, which start with a digit. */
function rowKey(batchId: string): string {
  return `behavior:${batchId}`;
}

function refused(
  code: Extract<CommandReply, { kind: "refused" }>["code"],
  detail: string,
): CommandReply {
  return { kind: "refused", code, detail };
}
