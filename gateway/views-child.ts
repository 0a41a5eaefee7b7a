/**
 * The thread of the views as a child of the shop, and what of the configuration it needs.
 *
 * Nothing on the way of an order waits for a view, so no view may end the shop: its thread is
 * started again for ever, ever less often while it does not live long, see `view-restarts.ts`.
 * Refuses nothing; a shop without views has no such child.
 */

import type { View } from "../actors/contracts/topics.ts";
import type { FeedGroup } from "../actors/stores/journal/journal-types.ts";
import type { ViewsSettings } from "../actors/views/view-list.ts";
import type { ViewsThreadData, ViewsTold } from "../actors/views/views-runner.ts";
import type { Environment } from "../runtime/environment.ts";
import type { ChildSpec } from "../runtime/supervision/child.ts";
import type { Supervisor, SupervisorEvent } from "../runtime/supervision/supervisor.ts";
import type { ThreadChildOptions } from "../runtime/threads/thread-child.ts";

import { VIEWS } from "../actors/contracts/topics.ts";
import { THREAD_RESTARTS } from "../actors/views/view-restarts.ts";
import { supervisorChild } from "../runtime/supervision/supervision-tree.ts";
import { threadChild } from "../runtime/threads/thread-child.ts";

/** One flush, or one step of housekeeping, may take seconds on a slow disk. */
const VIEWS_STALL_MS = 15_000;

export interface ViewsChildOptions extends Pick<
  ThreadChildOptions,
  "entry" | "before" | "readyWithinMs" | "stopWithinMs" | "stopGraceMs" | "onStarted"
> {
  readonly environment: Environment;
  readonly data: ViewsThreadData;
  readonly onTold: (told: ViewsTold) => void;
  readonly onEvent: (event: SupervisorEvent) => void;
  /** The way to what runs. */
  readonly onSupervisor: (supervisor: Supervisor) => void;
}

export function viewsChild(options: ViewsChildOptions): ChildSpec {
  const { environment, data, onTold, onEvent, onSupervisor, stopWithinMs, stopGraceMs } = options;
  const thread = threadChild({
    id: "views",
    restart: "permanent",
    environment,
    entry: options.entry,
    thread: data.thread,
    heartbeats: data.heartbeats,
    workerData: () => data,
    ...(options.before === undefined ? {} : { before: options.before }),
    readyWithinMs: options.readyWithinMs,
    stallMs: VIEWS_STALL_MS,
    stopWithinMs,
    stopGraceMs,
    ...(options.onStarted === undefined ? {} : { onStarted: options.onStarted }),
    // The thread tells nothing else.
    onMessage: (body) => onTold(body as ViewsTold),
  });
  return supervisorChild({ ...THREAD_RESTARTS, id: "all-views", children: [thread] }, environment, {
    onEvent,
    onStart: onSupervisor,
  });
}

/** The roles that are views. */
export function viewsOf(roles: readonly string[]): readonly View[] {
  return roles.filter(isView);
}

/** What the journal keeps the log for. */
export function feedsOf(settings: Pick<ViewsSettings, "views" | "servers">): readonly FeedGroup[] {
  return settings.views
    .filter((name) => !Object.hasOwn(settings.servers, name))
    .map((name) => ({ name, topics: VIEWS[name] }));
}

function isView(role: string): role is View {
  return Object.hasOwn(VIEWS, role);
}
