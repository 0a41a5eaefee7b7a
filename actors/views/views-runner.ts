/**
 * The thread of the views: every view a child of one supervisor, all on rings to the journal alone.
 *
 * A view that breaks is begun anew from its store while the others go on, ever less often while it
 * goes on breaking, and never ends the thread by that. It carries no messages: what it needs of
 * the journal is that it keeps what no view has released.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Supervisor } from "../../runtime/supervision/supervisor.ts";
import type { MeshMemory } from "../../runtime/threads/mesh.ts";
import type { StartedThread } from "../../runtime/threads/thread-entry.ts";
import type { View } from "../contracts/topics.ts";
import type { FeedStanding } from "../stores/journal/journal-types.ts";
import type { ViewSource, ViewsGround, ViewsSettings } from "./view-list.ts";
import type { ViewEvent, ViewOptions } from "./view-runner.ts";

import { describeError } from "../../runtime/errors.ts";
import { startSupervisor } from "../../runtime/supervision/supervisor.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { CounterWriter } from "../../runtime/threads/counter-page.ts";
import { MeshNode } from "../../runtime/threads/mesh.ts";
import { runThread } from "../../runtime/threads/thread-entry.ts";
import { VIEWS } from "../contracts/topics.ts";
import { commitSabotage, isSabotage } from "../sabotage.ts";
import { SHOP_LAYOUT } from "../shop-metrics.ts";
import { viewMetrics } from "../store-metrics.ts";
import { JournalClient } from "../stores/journal-client.ts";
import { FEED_STANDING, RELEASE_FEED } from "../stores/journal-protocol.ts";
import { openJournalFeed } from "./journal-feed.ts";
import { LogWindow } from "./log-window.ts";
import { VIEW_RESTARTS } from "./view-restarts.ts";
import { startView } from "./view-runner.ts";

/** Of the time to stop: the rest is for the last release and for closing the stores. */
const DRAIN_SHARE = 0.7;
/** Longer than any stop of the thread, which is what bounds a stop of its views. */
const VIEW_STOP_MS = 3_600_000;

export interface ViewsThreadData {
  readonly memory: MeshMemory;
  readonly heartbeats: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** Indices in the mesh. */
  readonly thread: number;
  readonly journal: number;
  readonly backlogBytesMax: number;
  readonly directory: string;
  readonly settings: ViewsSettings;
}

/** What the views tell their parent. */
export type ViewsTold =
  | { readonly kind: "log"; readonly level: "info" | "warning" | "error"; readonly text: string }
  | { readonly kind: "damage"; readonly detail: string };

/** Makes the views of a thread; a test brings its own. */
export type ListViews = (settings: ViewsSettings, ground: ViewsGround) => readonly ViewSource[];

/** Runs the views in this worker thread. */
export function runViews(data: ViewsThreadData, list: ListViews): Promise<void> {
  return runThread({
    environment: systemEnvironment,
    heartbeats: data.heartbeats,
    thread: data.thread,
    start: (tell) => start(data, list, tell),
  });
}

async function start(
  data: ViewsThreadData,
  list: ListViews,
  tell: (told: ViewsTold) => void,
): Promise<StartedThread> {
  const environment = systemEnvironment;
  const { node, client } = joinMesh(data);
  const report = createReport(data, tell);
  const views = await superviseViews(environment, report);
  let drainMs = 0;
  const ground: ViewsGround = {
    directory: data.directory,
    environment,
    say: (text) => report.say("info", text),
    onAudited: report.audited,
    onAnalyzed: report.analyzed,
  };
  const sources = list(data.settings, ground);
  const window = sources.length > 1 ? new LogWindow() : undefined;
  // As dynamic children they stop together, each with the whole time of a stop.
  for (const { name, open } of sources) {
    const view: ViewOptions = {
      name,
      environment,
      settings: data.settings.reading,
      openProjection: open,
      openFeed: () =>
        openJournalFeed({
          directory: data.directory,
          name,
          topics: VIEWS[name],
          environment,
          window,
          release: async (release) => void (await client.request(RELEASE_FEED, release)),
          standing: () => client.request<FeedStanding>(FEED_STANDING, { name }),
        }),
      onEvent: (event) => report.heard(name, event),
      drainMs: () => drainMs,
    };
    await views.startChild({
      id: name,
      restart: "permanent",
      shutdown: VIEW_STOP_MS,
      start: async (onExit) => startView(view, onExit),
    });
  }
  return {
    async stop(withinMs) {
      drainMs = withinMs * DRAIN_SHARE;
      await views.stop();
      node.close();
    },
    onCustom(body) {
      if (isSabotage(body)) commitSabotage(body, environment);
      // The parent sends nothing else but word that the journal is gone.
      else client.fail("the journal's thread died");
    },
  };
}

function joinMesh(data: ViewsThreadData): {
  readonly node: MeshNode;
  readonly client: JournalClient;
} {
  const node = new MeshNode({
    memory: data.memory,
    me: data.thread,
    environment: systemEnvironment,
    backlogBytesMax: data.backlogBytesMax,
    listeners: [
      {
        from: data.journal,
        release: "read",
        onRecord: (kind, bytes) => client.onRecord(kind, bytes),
      },
    ],
    onTurn: () => client.onTurn(),
  });
  const client: JournalClient = new JournalClient(node, data.journal);
  return { node, client };
}

/** Where what happens to the views is counted and told. */
interface Report {
  heard(view: View, event: ViewEvent): void;
  broke(view: string, error: unknown): void;
  readonly audited: ViewsGround["onAudited"];
  readonly analyzed: ViewsGround["onAnalyzed"];
  say(level: "info" | "warning" | "error", text: string): void;
}

function createReport(data: ViewsThreadData, tell: (told: ViewsTold) => void): Report {
  const metrics = viewMetrics(new CounterWriter(data.counters, SHOP_LAYOUT, data.thread));
  const failing = new Set<string>();

  function say(level: "info" | "warning" | "error", text: string): void {
    tell({ kind: "log", level, text });
  }

  return {
    say,
    audited: metrics.audited,
    analyzed: metrics.analyzed,
    heard(view, event) {
      metrics.record(view, event);
      if (event.kind === "working" && failing.delete(view)) say("info", `${view} works again`);
      if (event.kind === "lost") {
        tell({ kind: "damage", detail: `view ${view}: ${describeError(event.error)}` });
      }
      if (event.kind !== "failed") return;
      // One line for each failure that goes on, however often it is met.
      const { error, retryInMs } = event;
      const isNew = !failing.has(view);
      failing.add(view);
      if (isNew) say("warning", `${view} fails, again in ${retryInMs} ms: ${describeError(error)}`);
    },
    broke(view, error) {
      failing.add(view);
      metrics.broke(view);
      say("error", `${view} broke and is begun anew: ${describeError(error)}`);
    },
  };
}

function superviseViews(environment: Environment, report: Report): Promise<Supervisor> {
  return startSupervisor({ ...VIEW_RESTARTS, id: "views", children: [] }, environment, {
    onEvent(event) {
      if (event.kind !== "child_exited" || event.exit.kind !== "abnormal") return;
      report.broke(event.childId, event.exit.error);
    },
    onGiveUp(error) {
      // In a later turn and caught by nobody: it ends the thread.
      environment.defer(() => {
        throw error;
      });
    },
  });
}
