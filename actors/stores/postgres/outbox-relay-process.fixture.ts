/**
 * A process with one shard around its PostgreSQL store, for tests that stop or kill it.
 *
 * It publishes to the test over HTTP and, when told to, commits a unit every few milliseconds. What
 * it says on its output is one JSON value a line: its relay id, what was committed, that it was
 * fenced. Ended only from outside, or by its fence.
 */

import { writeSync } from "node:fs";

import { describeError, isShopError, ShopError } from "../../../runtime/errors.ts";
import { systemEnvironment } from "../../../runtime/system-environment.ts";
import { EMPTY_UNIT } from "../unit-of-work.ts";
import { numbered, wait, WORLD_SLOTS } from "./outbox-relay.fixture.ts";
import { openPostgresShard } from "./outbox-relay-shard.ts";
import { openPostgres } from "./postgres-connection.ts";
import { POSTGRES_DEFAULTS } from "./postgres-options.ts";

export interface ShardProcessOptions {
  readonly url: string;
  readonly process: string;
  /** Where frames are posted. */
  readonly publishTo: string;
  /** Commits one unit after the other. */
  readonly commits: boolean;
}

export type ShardProcessSays =
  | { readonly kind: "ready"; readonly relayId: string }
  | { readonly kind: "committed"; readonly number: number }
  | { readonly kind: "refused"; readonly code: string }
  | { readonly kind: "fenced" };

const STDOUT = 1;
const COMMIT_EVERY_MS = 10;
const SLOTS = WORLD_SLOTS;

function say(said: ShardProcessSays): void {
  writeSync(STDOUT, `${JSON.stringify(said)}\n`);
}

async function run(options: ShardProcessOptions): Promise<void> {
  const settings = { ...POSTGRES_DEFAULTS, url: options.url, schema: "public" };
  const postgres = await openPostgres(settings, { environment: systemEnvironment, slots: SLOTS });
  const shard = await openPostgresShard({
    postgres,
    process: options.process,
    shard: 0,
    slots: SLOTS,
    lease: { beatMs: 100, silentMs: 1_500 },
    lanes: [
      {
        name: "test",
        topics: ["orders"],
        broker: {
          async publish(frames) {
            const body = Buffer.concat(frames.map(({ frame }) => frame));
            try {
              const response = await fetch(options.publishTo, { method: "POST", body });
              if (response.ok) return;
            } catch (error) {
              throw new ShopError("INDETERMINATE", describeError(error), "later");
            }
            throw new ShopError("STORAGE_FAULT", "the broker refuses", "later");
          },
        },
      },
    ],
    onRefused: async () => undefined,
    onFenced: () => say({ kind: "fenced" }),
  });
  say({ kind: "ready", relayId: shard.relayId });
  for (let number = 1; options.commits; number++) {
    const mark = { group: "zombie", messageId: systemEnvironment.newId() };
    const unit = { ...EMPTY_UNIT, inbox: [mark], outgoing: [numbered(number, number % SLOTS)] };
    try {
      await shard.store.commit(unit, []);
      say({ kind: "committed", number });
    } catch (error) {
      say({ kind: "refused", code: isShopError(error) ? error.code : describeError(error) });
      if (isShopError(error, "FENCED")) process.exit(3);
    }
    await wait(systemEnvironment, COMMIT_EVERY_MS);
  }
}

// Made by the test, which is of this build.
await run(JSON.parse(process.argv[2] ?? "{}") as ShardProcessOptions);
