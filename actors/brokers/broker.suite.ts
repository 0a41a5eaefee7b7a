/**
 * The conformance suite that every adapter of the broker port runs.
 *
 * A case that needs an ability the adapter does not declare, or a hook it does not bring, is
 * skipped with a printed reason and counted; nothing passes by being left out. The cases are in
 * the files named after what they are about.
 */

import { describe, expect, test } from "bun:test";

import type { BrokerCapabilities } from "./broker.ts";
import type { BrokerCase, BrokerHooks, Need } from "./broker-bench.suite.ts";

import { requireOrSkip } from "../../runtime/testing/requirements.ts";
import { Bench } from "./broker-bench.suite.ts";
import { DEAD_LETTER_CASES } from "./dead-letter-cases.suite.ts";
import { FILTER_CASES } from "./filter-cases.suite.ts";
import { GROUP_CASES } from "./group-cases.suite.ts";
import { LIFECYCLE_CASES } from "./lifecycle-cases.suite.ts";
import { ORDER_CASES } from "./order-cases.suite.ts";
import { PUBLISH_CASES } from "./publish-cases.suite.ts";
import { REMOTE_MEMBER_CASES } from "./remote-member-cases.suite.ts";
import { REMOTE_SERVER_CASES } from "./remote-server-cases.suite.ts";
import { RETRY_CASES } from "./retry-cases.suite.ts";
import { STORAGE_CASES } from "./storage-cases.suite.ts";

const CASE_TIMEOUT_MS = 60_000;
/** A case kills its server a dozen times, and a machine that runs several of them is slow. */
const REMOTE_CASE_TIMEOUT_MS = 900_000;

const CASES: readonly BrokerCase[] = [
  ...PUBLISH_CASES,
  ...GROUP_CASES,
  ...RETRY_CASES,
  ...DEAD_LETTER_CASES,
  ...ORDER_CASES,
  ...LIFECYCLE_CASES,
  ...STORAGE_CASES,
  ...FILTER_CASES,
  ...REMOTE_SERVER_CASES,
  ...REMOTE_MEMBER_CASES,
];

/** Registers the suite for one adapter. `newHooks` is called once per case. */
export function testBroker(
  name: string,
  capabilities: BrokerCapabilities,
  newHooks: () => BrokerHooks,
): void {
  describe(`${name} broker`, () => {
    const hooks = newHooks();
    const timeoutMs = hooks.patienceMs === undefined ? CASE_TIMEOUT_MS : REMOTE_CASE_TIMEOUT_MS;
    let skipped = 0;
    for (const each of CASES) {
      const missing = (each.needs ?? []).filter((need) => !isThere(need, capabilities, hooks));
      const id = `${name} ${each.name.split(":")[0]}`;
      const reason = `the adapter has no ${missing.join(", no ")}`;
      const runs = requireOrSkip(id, missing.length === 0, reason);
      if (!runs) skipped++;
      test.skipIf(!runs)(each.name, () => runCase(each, newHooks()), timeoutMs);
    }
    test(`${CASES.length - skipped} of ${CASES.length} cases apply`, () => {
      expect(skipped).toBeLessThan(CASES.length / 2);
    });
  });
}

async function runCase(each: BrokerCase, hooks: BrokerHooks): Promise<void> {
  const bench = new Bench(hooks);
  try {
    await each.run(bench);
  } finally {
    await hooks.stop();
  }
}

function isThere(need: Need, capabilities: BrokerCapabilities, hooks: BrokerHooks): boolean {
  switch (need) {
    case "confirmIsDurable":
    case "durablePostpone":
    case "filtersTypes":
    case "leasesMove":
    case "persistent":
    case "replay":
      return capabilities[need];
    case "crashMember":
    case "diskFull":
    case "ioFault":
    case "bounce":
    case "jumpWallClock":
    case "loseConfirms":
    case "memberProcess":
    case "network":
    case "pauseServer":
    case "restart":
      return hooks[need] !== undefined;
  }
}
