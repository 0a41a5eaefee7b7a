/**
 * Entry of the views' worker thread. It starts what `views-runner.ts` describes with the views of
 * the shop and holds nothing else, so that tests can start the same with views of their own.
 */

import type { ViewsThreadData } from "./views-runner.ts";

import { workerData } from "node:worker_threads";

import { listViews } from "./view-list.ts";
import { runViews } from "./views-runner.ts";

// Made by the parent, which is of this build.
await runViews(workerData as ViewsThreadData, listViews);
