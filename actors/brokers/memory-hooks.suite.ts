/**
 * The memory broker's hooks for the conformance suite: a virtual clock and a log that is kept.
 *
 * A restart makes a new broker on the same log; a kill forgets the old one without a close.
 */

import type { Broker } from "./broker.ts";
import type { BrokerHooks, Setup } from "./broker-bench.suite.ts";
import type { MemoryFaults } from "./memory-broker.ts";

import { assert } from "../../runtime/errors.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { MemoryBroker } from "./memory-broker.ts";
import { MemoryLog } from "./memory-log.ts";

const LOG_BYTES_MAX = 256 * 1_024 * 1_024;

export function memoryHooks(): BrokerHooks {
  const environment = createVirtualEnvironment();
  const faults: MemoryFaults = {
    diskFull: false,
    ioFault: false,
    confirmsLost: false,
    burialsRefused: false,
  };
  let log: MemoryLog | undefined;
  let broker: MemoryBroker | undefined;

  function open(): Broker {
    assert(log !== undefined, "start comes first");
    broker = new MemoryBroker({ environment, log, faults });
    return broker;
  }

  return {
    environment,
    pass: (durationMs) => environment.advance(durationMs),
    start: (setup: Setup) => {
      log = new MemoryLog({
        ...setup,
        logBytesMax: LOG_BYTES_MAX,
        deadLetterBytesMax: LOG_BYTES_MAX,
      });
      return Promise.resolve(open());
    },
    stop: async () => broker?.close(),
    restart: async (kind) => {
      if (kind === "kill") broker?.kill();
      else await broker?.close();
      return open();
    },
    crashMember: (_broker, subscription) => broker?.crashMember(subscription),
    diskFull: (on) => void (faults.diskFull = on),
    ioFault: (on) => void (faults.ioFault = on),
    loseConfirms: (on) => void (faults.confirmsLost = on),
    jumpWallClock: (byMs) => environment.jumpWallClock(byMs),
  };
}
