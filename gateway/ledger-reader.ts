/**
 * The ledger of the whole shop: every shard is asked for its rows.
 *
 * All or nothing: a ledger without one shard's partitions would balance and be wrong. Refuses to
 * wait past the deadline of a command.
 */

import type { LedgerRow } from "../actors/contracts/order-state.ts";
import type { Environment } from "../runtime/environment.ts";
import type { CommandPort } from "./http/command-port.ts";
import type { LedgerPort } from "./http/gateway-ports.ts";

import { shardKeys } from "../actors/ledger/shard-keys.ts";
import { ShopError } from "../runtime/errors.ts";

export interface LedgerReaderOptions {
  readonly commands: CommandPort;
  readonly environment: Environment;
  readonly shards: number;
  readonly slots: number;
  readonly deadlineMs: number;
}

export function createLedgerReader(options: LedgerReaderOptions): LedgerPort {
  const { commands, environment, deadlineMs } = options;
  const keys = shardKeys(options.shards, options.slots);

  async function readShard(shardKey: string): Promise<readonly LedgerRow[]> {
    const about = { deadlineMs, correlationId: environment.newId() };
    const reply = await commands.send({ type: "ledger.read", shardKey }, about);
    if (reply.kind === "ledger") return reply.rows;
    throw new ShopError("CLOSED", `${shardKey} has no ledger: it answered ${reply.kind}`, "later");
  }

  return {
    async read() {
      return (await Promise.all(keys.map(readShard))).flat();
    },
  };
}
