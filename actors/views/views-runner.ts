/**
 * The thread of the views: every view a child of one supervisor, all on one ground.
 *
 * A view that breaks is begun anew from its store while the others go on, ever less often while it
 * goes on breaking, and never ends the thread by that. A view with a file of its own reads the
 * journal's log at its own pace; one with a sink on a server is a member of a group.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { Supervisor } from "../../runtime/supervision/supervisor.ts";
import type { MeshMemory } from "../../runtime/threads/mesh.ts";
import type { StartedThread } from "../../runtime/threads/thread-entry.ts";
import type { ConnectionState } from "../brokers/broker.ts";
import type { View } from "../contracts/topics.ts";
import type { ViewSource, ViewsGround, ViewsSettings } from "./view-list.ts";
import type { ViewEvent } from "./view-runner.ts";
import type { ViewsGroundData } from "./views-carrier.ts";

import { describeError } from "../../runtime/errors.ts";
import { startSupervisor } from "../../runtime/supervision/supervisor.ts";
import { systemEnvironment } from "../../runtime/system-environment.ts";
import { CounterWriter } from "../../runtime/threads/counter-page.ts";
import { runThread } from "../../runtime/threads/thread-entry.ts";
import { commitSabotage, isSabotage } from "../sabotage.ts";
import { SHOP_LAYOUT } from "../shop-metrics.ts";
import { viewMetrics } from "../store-metrics.ts";
import { VIEW_RESTARTS } from "./view-restarts.ts";
import { startViewMember } from "./view-member.ts";
import { startView } from "./view-runner.ts";
import { openCarrier } from "./views-carrier.ts";

/** Of the time to stop: the rest is for the last release and for closing the stores. */
const DRAIN_SHARE = 0.7;
/** Longer than any stop of the thread, which is what bounds a stop of its views. */
const VIEW_STOP_MS = 3_600_000;

export interface ViewsThreadData {
  readonly memory: MeshMemory;
  readonly heartbeats: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** Index in the mesh. */
  readonly thread: number;
  readonly directory: string;
  readonly ground: ViewsGroundData;
  readonly settings: ViewsSettings;
}

type LogLevel = "debug" | "info" | "warning" | "error";

/** What the views tell their parent. */
export type ViewsTold =
  | { readonly kind: "log"; readonly level: LogLevel; readonly text: string }
  | { readonly kind: "damage"; readonly detail: string }
  /** A server can be reached again, or not any more. */
  | { readonly kind: "connection"; readonly server: string; readonly state: ConnectionState };

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
  const report = createReport(data, tell);
  const carrier = await openCarrier(data, {
    onConnection: report.connection,
    onLog: report.say,
  });
  const views = await superviseViews(environment, report);
  let drainMs = 0;
  const sources = list(data.settings, {
    directory: data.directory,
    environment,
    say: (text) => report.say("info", text),
    onAudited: report.audited,
    onAnalyzed: report.analyzed,
    onConnection: report.connection,
  });
  // As dynamic children they stop together, each with the whole time of a stop.
  for (const source of sources) {
    const common = {
      name: source.name,
      environment,
      settings: data.settings.reading,
      onEvent: (event: ViewEvent) => report.heard(source.name, event),
      drainMs: () => drainMs,
    };
    await views.startChild({
      id: source.name,
      restart: "permanent",
      shutdown: VIEW_STOP_MS,
      start: async (onExit) =>
        source.kind === "projection"
          ? startView(
              {
                ...common,
                openProjection: source.open,
                openFeed: () => carrier.openFeed(source.name),
              },
              onExit,
            )
          : await startViewMember(
              {
                ...common,
                broker: carrier.broker,
                topics: carrier.topics(source.name),
                openSink: source.open,
              },
              onExit,
            ),
    });
  }
  return {
    async stop(withinMs) {
      drainMs = withinMs * DRAIN_SHARE;
      await views.stop();
      await carrier.close();
    },
    onCustom(body) {
      if (isSabotage(body)) commitSabotage(body, environment);
      // The parent sends nothing else but word that the journal is gone.
      else carrier.fail();
    },
  };
}

/** Where what happens to the views is counted and told. */
interface Report {
  heard(view: View, event: ViewEvent): void;
  broke(view: string, error: unknown): void;
  connection(server: string, state: ConnectionState): void;
  readonly audited: ViewsGround["onAudited"];
  readonly analyzed: ViewsGround["onAnalyzed"];
  say(level: LogLevel, text: string): void;
}

function createReport(data: ViewsThreadData, tell: (told: ViewsTold) => void): Report {
  const metrics = viewMetrics(new CounterWriter(data.counters, SHOP_LAYOUT, data.thread));
  const failing = new Set<string>();

  function say(level: LogLevel, text: string): void {
    tell({ kind: "log", level, text });
  }

  return {
    say,
    connection: (server, state) => tell({ kind: "connection", server, state }),
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
