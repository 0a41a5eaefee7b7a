/**
 * The journal's thread: the one place where the database is written.
 *
 * Between turns it sleeps in its event loop; a turn takes what all rings hold, commits it as one
 * transaction, answers. When the journal is beyond repair the error ends the thread, nothing more
 * is acknowledged, and the process goes down with it.
 */

import type { MeshMemory } from "../../runtime/threads/mesh.ts";
import type { FeedGroup, JournalOptions, LogHolder } from "./journal/journal-types.ts";

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { CounterWriter } from "../../runtime/threads/counter-page.ts";
import { MeshNode } from "../../runtime/threads/mesh.ts";
import { runThread } from "../../runtime/threads/thread-entry.ts";
import { commitSabotage, isSabotage } from "../sabotage.ts";
import { SHOP_LAYOUT } from "../shop-metrics.ts";
import { journalMetrics } from "../store-metrics.ts";
import { JournalServer } from "./journal-server.ts";
import { openJournal } from "./journal/journal.ts";

export interface JournalThreadData {
  readonly memory: MeshMemory;
  readonly heartbeats: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly thread: number;
  /** Threads that talk to the journal. */
  readonly clients: readonly number[];
  readonly backlogBytesMax: number;
  readonly journal: Omit<JournalOptions, "environment" | "faults" | "onUnreadDropped">;
  /** Readers of the log to keep it for, and no others; absent: those that are known stay. */
  readonly feeds?: readonly FeedGroup[];
}

/** A client's thread died: forget it, and empty the ring towards it before its successor starts. */
export interface ThreadGone {
  readonly kind: "thread_gone";
  readonly thread: number;
}

/** What the journal's thread tells its parent. */
export type JournalTold =
  | { readonly kind: "thread_reset"; readonly thread: number }
  | { readonly kind: "damage"; readonly detail: string }
  | { readonly kind: "refused"; readonly detail: string }
  /** Who holds much of the log from now on; empty: nobody. */
  | { readonly kind: "holding"; readonly detail: string }
  /** At the start: records are kept for `group`, and nobody here is a member of it. */
  | { readonly kind: "unattended"; readonly group: string; readonly records: number }
  | { readonly kind: "feeds_forgotten"; readonly names: readonly string[] };

function holdingText(holder: LogHolder | undefined): string {
  if (holder === undefined) return "";
  const { group, records, share } = holder;
  const percent = Math.round(share * 100);
  return `${group} holds ${percent} % of what the log may be: ${records} records`;
}

function lossText(group: string): string {
  const text = "and the log is over its size: its oldest records are gone unread";
  return `nobody reads as ${group}, ${text}`;
}

/** Runs the journal in this worker thread. `faults` is for tests of storage that fails. */
export function runJournal(
  data: JournalThreadData,
  faults?: JournalOptions["faults"],
): Promise<void> {
  return runThread({
    environment: systemEnvironment,
    heartbeats: data.heartbeats,
    thread: data.thread,
    start(tell) {
      const say = (told: JournalTold): void => tell(told);
      const losers = new Set<string>();
      const journal = openJournal({
        ...data.journal,
        environment: systemEnvironment,
        onUnreadDropped(group) {
          if (losers.has(group)) return;
          losers.add(group);
          say({ kind: "damage", detail: lossText(group) });
        },
        ...(faults === undefined ? {} : { faults }),
      });
      for (const damage of journal.damage) say({ kind: "damage", detail: JSON.stringify(damage) });
      // Before anything is pruned, and before any of them reads.
      const names = data.feeds === undefined ? [] : journal.keepFeeds(data.feeds);
      if (names.length > 0) say({ kind: "feeds_forgotten", names });
      for (const one of journal.logHolders().unattended) say({ kind: "unattended", ...one });
      const metrics = journalMetrics(new CounterWriter(data.counters, SHOP_LAYOUT, data.thread));
      const server = new JournalServer({
        journal,
        environment: systemEnvironment,
        slots: data.journal.slots,
        send: (thread, kind, first, second) => node.send(thread, kind, first, second),
        onEvent(event) {
          metrics.record(event);
          if (event.kind === "damaged") say({ kind: "damage", detail: event.detail });
          if (event.kind === "holding") say({ kind: "holding", detail: holdingText(event.holder) });
          if (event.kind === "refused") say({ kind: "refused", detail: event.error.message });
        },
      });
      const node = new MeshNode({
        memory: data.memory,
        me: data.thread,
        environment: systemEnvironment,
        backlogBytesMax: data.backlogBytesMax,
        listeners: data.clients.map((client) => ({
          from: client,
          // A request that was read is in the turn's transaction; a client that dies asks again.
          release: "read",
          onRecord: (kind, bytes) => server.onRecord(client, kind, bytes),
        })),
        onTurn: () => server.onTurn(),
      });
      return {
        onCustom(body) {
          if (isSabotage(body)) {
            commitSabotage(body, systemEnvironment);
            return;
          }
          // The parent sends nothing else.
          const { thread } = body as ThreadGone;
          node.drainNow();
          server.threadGone(thread);
          node.resetOutbound(thread);
          say({ kind: "thread_reset", thread });
        },
        async stop() {
          node.drainNow();
          server.close();
          node.close();
        },
      };
    },
  });
}
