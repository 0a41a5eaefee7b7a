/**
 * The memory broker against the conformance suite, and what only it promises.
 *
 * Its restarts are played within one process on a kept log, so the cases that need persistence
 * run although it declares none; everything happens on a virtual clock.
 */

import { testBroker } from "./broker.suite.ts";
import { memoryHooks } from "./memory-hooks.suite.ts";
import { MEMORY_CAPABILITIES } from "./memory-broker.ts";

testBroker(
  "memory",
  { ...MEMORY_CAPABILITIES, persistent: true, confirmIsDurable: true, durablePostpone: true },
  () => memoryHooks(),
);
