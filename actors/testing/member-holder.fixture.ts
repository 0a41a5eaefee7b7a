/**
 * A process with a frozen member of its own, to be killed by the test that starts it.
 *
 * It tells the member's process id in one line and then does nothing, for ever: it refuses nothing
 * and ends by nothing but a signal.
 */

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { startMemberProcess } from "./member-process.fixture.ts";
import { PlainServer } from "./plain-server.fixture.ts";

const PARTITIONS = 4;
const topics = ["t"];

const server = new PlainServer(topics, PARTITIONS);
await server.start();
const member = await startMemberProcess(systemEnvironment, {
  rig: new URL("./plain-rig.fixture.ts", import.meta.url).href,
  open: {
    topics,
    partitions: PARTITIONS,
    prefix: "",
    address: server.address,
    publishTimeoutMs: 1_500,
    sessionMs: 3_000,
    groups: ["g"],
  },
  member: { group: "g", creditFrames: 1, work: "hold" },
});
member.freeze();
process.stdout.write(`${member.pid}\n`);
