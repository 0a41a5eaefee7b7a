/**
 * Entry of the journal's worker thread. It starts what `journal-runner.ts` describes and holds
 * nothing else, so that tests can start the same with storage that fails.
 */

import type { JournalThreadData } from "./journal-runner.ts";

import { workerData } from "node:worker_threads";

import { runJournal } from "./journal-runner.ts";

// Made by the parent, which is of this build.
await runJournal(workerData as JournalThreadData);
