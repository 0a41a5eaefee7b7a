/**
 * The ports around the order pipeline, honest about a shop in which nothing has happened yet.
 *
 * Tests of one family of endpoints bring fakes of their own; these let the whole application be
 * put together.
 */

import type { Environment } from "../../../runtime/environment.ts";
import type { CommandPort } from "../command-port.ts";
import type { PlatformPorts } from "../gateway-ports.ts";

import { openAnalyticsReads } from "../../../actors/analytics/analytics-reads.ts";
import { openAuditReads } from "../../../actors/audit/audit-reads.ts";
import { MemoryLog } from "../../../actors/brokers/memory-log.ts";
import { TOPICS } from "../../../actors/contracts/topics.ts";
import { createMemoryLetters } from "../../../actors/dead-letters/memory-letters.ts";
import { createLetterJobs } from "../dead-letter-jobs.ts";

const NOWHERE = "/nowhere/at/all";

export function emptyPlatform(environment: Environment, commands: CommandPort): PlatformPorts {
  const log = new MemoryLog({
    topics: TOPICS,
    partitions: 1,
    logBytesMax: 1_024,
    deadLetterBytesMax: 1_024,
  });
  const letters = createMemoryLetters(log);
  return {
    notifications: { notifications: async () => undefined },
    audit: openAuditReads({ directory: NOWHERE, environment }),
    analytics: openAnalyticsReads(NOWHERE, environment),
    letters,
    letterJobs: createLetterJobs({ environment, commands, letters, commandTimeoutMs: 1_000 }),
    ledger: { read: async () => [] },
  };
}
