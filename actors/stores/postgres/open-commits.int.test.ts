/**
 * Commits whose outcome a shard does not know, on a real server: its slots are not given away.
 *
 * The server goes on with a commit that its shard has given up. The test holds it up by a lock, and
 * cuts the shard's connections once the server shows that it waits: nothing depends on time.
 */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";

import type { UnitOfWork } from "../unit-of-work.ts";
import type { OutboxWorld } from "./outbox-relay.fixture.ts";
import type { Postgres } from "./postgres-connection.ts";

import { whyMissing } from "../../../deploy/services/test-server.ts";
import { describeError, isShopError } from "../../../runtime/errors.ts";
import { systemEnvironment as environment } from "../../../runtime/system-environment.ts";
import { requireOrSkip } from "../../../runtime/testing/requirements.ts";
import { rowOf } from "../store.suite.ts";
import { EMPTY_UNIT } from "../unit-of-work.ts";
import {
  eventually,
  KeepingBroker,
  numbered,
  startOutboxWorld,
  WORLD_SLOTS as slots,
} from "./outbox-relay.fixture.ts";
import { openPostgres } from "./postgres-connection.ts";
import { ServerLink } from "./server-link.ts";

const missing = whyMissing("postgres");
const PATIENT = { beatMs: 600_000, silentMs: 3_600_000 };
const ANSWER_MS = 60_000;
/** The server ends nothing by itself, and is asked once. */
const SETTINGS = { statementTimeoutMs: ANSWER_MS, commitWaitMs: 0 };
const HELD = "held";

describe.skipIf(!requireOrSkip("postgres", missing === undefined, missing ?? ""))(
  "a slot of a shard that does not know what became of a commit",
  () => {
    let world: OutboxWorld;
    let own: Postgres;
    beforeAll(async () => {
      world = await startOutboxWorld();
      own = await openPostgres({ ...world.postgres.settings, ...SETTINGS }, { environment, slots });
    });
    afterAll(async () => {
      await world.clear();
      await own.close();
      await world.dispose();
    });
    beforeEach(async () => {
      await world.clear();
    });
    let letGo = async (): Promise<void> => undefined;
    // Or a test that fails would hold up whoever ends the shards.
    afterEach(async () => letGo());

    test("is released once it knows, and what it committed comes before the heir's", async () => {
      const broker = new KeepingBroker();
      const { link, postgres } = linked(own);
      const former = await world.openShard("former", broker, { postgres, lease: PATIENT });
      const heir = await world.openShard("heir", new KeepingBroker(), { lease: PATIENT });
      await former.fences.claim("order", [1]);
      await heir.store.commit(unitAt(0), []);
      await hold();

      const committing = former.store.commit({ ...unitAt(1), outgoing: [numbered(7, 1)] }, []);
      const committed = outcomeOf(committing);
      await eventually("the commit waits", async () => (await waiting()) === 1);
      link.drop();
      await eventually("the question waits for it", async () => (await waiting()) === 2);
      link.drop();
      expect(await committed.end).toBe("INDETERMINATE");

      const refused = outcomeOf(former.fences.release("order", [1]));
      await eventually("so does that of the release", async () => {
        return refused.isOver() || (await waiting()) === 3;
      });
      link.drop();
      expect(await refused.end).toBe("STORAGE_FAULT");
      expect(await owners()).toEqual([former.relayId]);

      await letGo();
      await former.fences.release("order", [1]);
      await heir.fences.claim("order", [1]);
      expect(broker.numbers()).toEqual([7]);
      expect(await owners()).toEqual([heir.relayId]);
      const fenced = await world.sql`SELECT 1 FROM relays WHERE fenced`;
      expect(fenced).toHaveLength(0);
    });

    /** A transaction that has the row which the commit is to write. */
    async function hold(): Promise<void> {
      const holding = Promise.withResolvers<void>();
      const release = Promise.withResolvers<void>();
      const blocker = world.connect().begin(async (transaction) => {
        await transaction`SELECT 1 FROM stock WHERE key = ${HELD} FOR UPDATE`;
        holding.resolve();
        await release.promise;
      });
      await holding.promise;
      letGo = async () => {
        release.resolve();
        await blocker;
      };
    }

    async function waiting(): Promise<number> {
      const rows = await world.sql`
        SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
      return rows.length;
    }

    async function owners(): Promise<readonly string[]> {
      const rows = await world.sql<{ relay: string }[]>`
        SELECT relay::text AS relay FROM slot_owners WHERE grp = 'order' AND slot = 1`;
      return rows.map(({ relay }) => relay);
    }
  },
);

function unitAt(version: number): UnitOfWork {
  return { ...EMPTY_UNIT, rows: [rowOf(HELD, version)] };
}

/** The database, written to through a link that is in the test's hand. */
function linked(postgres: Postgres) {
  const link = new ServerLink({
    environment,
    watch: { succeeded: () => undefined, failed: () => undefined },
    connect: () => postgres.client(1),
    answerMs: ANSWER_MS,
  });
  const written: Postgres = {
    environment,
    settings: postgres.settings,
    client: (connectionsMax) => postgres.client(connectionsMax),
    writerLink: () => link,
    reading: (work) => postgres.reading(work),
    close: () => postgres.close(),
  };
  return { link, postgres: written };
}

/** What it came to: `done`, or the code it was refused with. */
function outcomeOf(work: Promise<unknown>) {
  let isOver = false;
  const end = work.then(
    () => "done",
    (error: unknown) => (isShopError(error) ? error.code : describeError(error)),
  );
  void end.then(() => (isOver = true));
  return { end, isOver: () => isOver };
}
