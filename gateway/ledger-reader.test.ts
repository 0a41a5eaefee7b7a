/**
 * Asking every shard for its ledger: each once, and nothing if one does not answer.
 */

import { expect, test } from "bun:test";

import type { CommandReply, LedgerRow } from "../actors/contracts/order-state.ts";
import type { CommandPort } from "./http/command-port.ts";

import { keyOfCommand } from "../actors/command-frames.ts";
import { slotOf } from "../runtime/frames/murmur2.ts";
import { createVirtualEnvironment } from "../runtime/virtual-environment.ts";
import { createLedgerReader } from "./ledger-reader.ts";

const SHARDS = 3;
const SLOTS = 64;

function rowsOf(shard: number): readonly LedgerRow[] {
  const counts = { published: 0, acked: 0, dead: 0, inFlight: 0, parked: 0, waiting: 0 };
  return [{ group: "order", topic: "payments", partition: shard, ...counts, redriven: 0 }];
}

function readerOf(answer: (shard: number) => CommandReply) {
  const send: CommandPort["send"] = (command) =>
    Promise.resolve(answer(slotOf(keyOfCommand(command), SLOTS) % SHARDS));
  const environment = createVirtualEnvironment();
  const commands = { send };
  return createLedgerReader({
    commands,
    environment,
    shards: SHARDS,
    slots: SLOTS,
    deadlineMs: 1_000,
  });
}

test("every shard is asked once, and their rows come together", async () => {
  const reader = readerOf((shard) => ({ kind: "ledger", rows: rowsOf(shard) }));
  expect((await reader.read()).map(({ partition }) => partition)).toEqual([0, 1, 2]);
});

test("without the answer of one shard there is none", async () => {
  const refused: CommandReply = { kind: "refused", code: "expired", detail: "too late" };
  const reader = readerOf((shard) =>
    shard === 1 ? refused : { kind: "ledger", rows: rowsOf(shard) },
  );
  await expect(reader.read()).rejects.toMatchObject({ code: "CLOSED", retry: "later" });
});
