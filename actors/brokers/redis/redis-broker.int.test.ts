/**
 * The Redis adapter against the conformance suite, on a real server with `appendfsync always`.
 * Faults are those of that server, of the network before it, and of members in other processes.
 */

import { Redis } from "ioredis";

import type { RemoteServer } from "../../testing/remote-hooks.suite.ts";

import { startTestServer, whyMissing } from "../../../deploy/services/test-server.ts";
import { testRemoteBroker } from "../../testing/remote-hooks.suite.ts";
import { REDIS_CAPABILITIES } from "./redis-broker.ts";

/** Cases in which a member dies wait for it to end. */
const SESSION_MS = 4_000;

testRemoteBroker("redis", REDIS_CAPABILITIES, {
  service: "redis",
  missing: whyMissing("redis"),
  startServer: () => startTestServer("redis"),
  rig: new URL("./redis-rig.fixture.ts", import.meta.url),
  serverFull,
  sessionMs: SESSION_MS,
});

/** Less memory than it uses already, so that it takes nothing more. */
async function serverFull({ address }: RemoteServer, on: boolean): Promise<void> {
  const client = new Redis(`redis://${address}`);
  await client.config("SET", "maxmemory", on ? "1mb" : "0");
  client.disconnect();
}
