/**
 * The ledger over the real journal: a delivery lost on the way and an acknowledgement that was
 * skipped are found, and an ordinary day is not.
 */

import { afterEach, beforeEach, expect, test } from "bun:test";

import type { JournalRig } from "../brokers/journal-rig.suite.ts";
import type { WireUnit } from "../stores/unit-wire.ts";
import type { HandleOne } from "../delivery/outcome.ts";
import type { LedgerWatch } from "./ledger-watch.ts";

import { ShopError } from "../../runtime/errors.ts";
import { createJournalRig } from "../brokers/journal-rig.suite.ts";
import { startConsumer } from "../delivery/consumer.ts";
import { DELIVERY_POLICY } from "../delivery/delivery-policy.ts";
import { SETTLED } from "../delivery/outcome.ts";
import {
  COMMIT,
  decodeBody,
  DELIVERY,
  encodeRequest,
  requestNumber,
  STANDINGS,
} from "../stores/journal-protocol.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { unitFromWire, unitToWire } from "../stores/unit-wire.ts";
import { startLedgerWatch } from "./ledger-watch.ts";

const HEARD = 1;
const UNHEARD = 2;
const LEASE_MS = 12_000;
const EVERY_MS = 500;

let rig: JournalRig;
let watch: LedgerWatch;
let imbalances: string[];
let balanced: number;
let handled: number;

beforeEach(async () => {
  rig = createJournalRig();
  imbalances = [];
  balanced = 0;
  handled = 0;
  const handle: HandleOne<null> = async ({ delivery }) => {
    if (++handled % 7 === 0) throw new ShopError("BAD_MESSAGE", "cannot be", "never");
    if (handled % 5 === 0) throw new Error("not this time");
    await rig.store.commit(EMPTY_UNIT, [delivery]);
    return SETTLED;
  };
  const starting = startConsumer({
    broker: rig.broker,
    environment: rig.environment,
    group: "g",
    topics: ["t"],
    types: [HEARD],
    decode: () => null,
    handler: { kind: "single", concurrencyMax: 16, handle },
    policy: { ...DELIVERY_POLICY, leaseMs: LEASE_MS, handleTimeoutMs: LEASE_MS - 1 },
  });
  await rig.pass(10);
  const consumer = await starting;
  watch = startLedgerWatch({
    environment: rig.environment,
    members: [{ group: "g", consumer }],
    settings: { everyMs: EVERY_MS, hangRounds: 20 },
    onImbalance: (detail) => void imbalances.push(detail),
    onBalanced: () => void balanced++,
  });
});

afterEach(() => {
  watch.stop();
  rig.close();
});

async function trade(frames: number): Promise<void> {
  for (let count = 0; count < frames; count++) {
    await rig.publish(count % 3 === 0 ? UNHEARD : HEARD, count % 2);
  }
}

test("an ordinary day balances, retries, burials and a full disk included", async () => {
  await trade(60);
  rig.fail("SQLITE_FULL");
  await rig.pass(2_000);
  rig.fail(undefined);
  await trade(30);
  await rig.pass(8_000);
  expect(imbalances).toEqual([]);
  const asking = watch.rows();
  await rig.pass(20);
  const rows = await asking;
  expect(rows.map(({ partition }) => partition)).toEqual([0, 1]);
  for (const row of rows) {
    expect(row.published).toBe(30);
    expect(row.acked + row.dead).toBe(30);
    expect(row.dead).toBeGreaterThan(0);
  }
});

test("a delivery that is lost between the threads is found, and heals with its lease", async () => {
  await trade(20);
  let lost = 0;
  rig.tamperDown = (kind, bytes) => (kind === DELIVERY && lost++ === 0 ? [] : [bytes]);
  await trade(6);
  await rig.pass(2 * EVERY_MS);
  expect(imbalances).toHaveLength(1);
  expect(imbalances[0]).toMatch(/^ledger of group g t\/\d: (\d+) sent, but \d+ received$/);
  await rig.pass(2 * LEASE_MS);
  expect(balanced).toBe(1);
});

test("a delivery that comes twice is found", async () => {
  let doubled = 0;
  rig.tamperDown = (kind, bytes) =>
    kind === DELIVERY && doubled++ === 3 ? [bytes, bytes] : [bytes];
  await trade(20);
  await rig.pass(2 * EVERY_MS);
  expect(imbalances.join()).toMatch(/t\/\d: \d+ sent, but \d+ received/);
});

test("an acknowledgement that the journal never got is found", async () => {
  await trade(20);
  let skipped = 0;
  rig.tamperUp = (kind, bytes) => {
    if (kind !== COMMIT) return [bytes];
    const { unit, acks } = unitFromWire(decodeBody<WireUnit>(bytes));
    if (acks.length === 0 || skipped++ > 0) return [bytes];
    // The unit is committed and answered as usual, but settles nothing.
    return [encodeRequest(requestNumber(bytes), unitToWire(unit, []))];
  };
  await trade(6);
  await rig.pass(2 * EVERY_MS);
  expect(skipped).toBeGreaterThan(0);
  expect(imbalances.join()).toMatch(/t\/\d: \d+ settled by the group, but \d+ at the broker/);
});

test("an answer costs little: only partitions of which something changed are in it", async () => {
  const sizes: number[] = [];
  rig.tamperDown = (kind, bytes) => {
    if (kind === STANDINGS) sizes.push(bytes.length);
    return [bytes];
  };
  await trade(20);
  await rig.pass(8_000);
  const quiet = sizes.at(-1) ?? 0;
  expect(Math.max(...sizes)).toBeLessThan(200);
  expect(quiet).toBeLessThan(60);
});
