/**
 * For the conformance suite: the adapter as a case wants it, in this process or in a member's.
 *
 * Heartbeats are short, so that members find their shares quickly.
 */

import type { OpenBroker } from "../../testing/remote-rig.fixture.ts";

import { openRedisBroker } from "./redis-broker.ts";
import { REDIS_SETTINGS } from "./redis-options.ts";

const HEARTBEAT_MS = 300;
const COMMAND_TIMEOUT_MS = 2_000;

export const openBroker: OpenBroker = ({
  topics,
  partitions,
  prefix,
  address,
  environment,
  sessionMs,
}) =>
  openRedisBroker({
    settings: {
      ...REDIS_SETTINGS,
      url: `redis://${address}`,
      prefix,
      sessionMs,
      heartbeatMs: HEARTBEAT_MS,
      commandTimeoutMs: COMMAND_TIMEOUT_MS,
    },
    environment,
    topics,
    partitions,
  });
