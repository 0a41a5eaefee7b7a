/**
 * A journal's server and one client of it in a single thread: a real database, a virtual clock, and
 * between them calls where the rings would be, which a test may tamper with.
 *
 * Nothing here asserts; the tests do.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { VirtualEnvironment } from "../../runtime/virtual-environment.ts";
import type { Journal } from "../stores/journal/journal-types.ts";
import type { Store } from "../stores/unit-of-work.ts";

import { encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { createEmbeddedStore } from "../stores/embedded-store.ts";
import { JournalClient } from "../stores/journal-client.ts";
import { openJournalReads } from "../stores/journal-reads.ts";
import { JournalServer } from "../stores/journal-server.ts";
import { openJournal } from "../stores/journal/journal.ts";
import { EmbeddedBroker } from "./embedded-broker.ts";

const CLIENT = 0;
const JOURNAL = 1;
const HOUR_MS = 3_600_000;
const TURN_MS = 10;

class StorageError extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** What becomes of a record on its way: itself, nothing, itself twice, or something else. */
export type Tamper = (kind: number, bytes: Uint8Array) => readonly Uint8Array[];

export interface JournalRig {
  readonly environment: VirtualEnvironment;
  readonly journal: Journal;
  readonly broker: EmbeddedBroker;
  readonly store: Store;
  /** Records on their way to the client, and to the journal. */
  tamperDown: Tamper;
  tamperUp: Tamper;
  /** What storage fails with from now on; `undefined`: it works. */
  fail(code: string | undefined): void;
  publish(type: number, slot?: number): Promise<void>;
  /** Lets time pass, with a turn of both ends every few milliseconds. */
  pass(durationMs: number): Promise<void>;
  close(): void;
}

export function createJournalRig(slots = 2): JournalRig {
  const directory = mkdtempSync(join(tmpdir(), "shopstream-rig-"));
  const environment = createVirtualEnvironment();
  let fault: string | undefined;
  const journal = openJournal({
    directory,
    slots,
    topics: ["t"],
    environment,
    retention: {
      logAgeMs: HOUR_MS,
      logBytesMax: 64 * 1024 * 1024,
      inboxAgeMs: HOUR_MS,
      idempotencyAgeMs: HOUR_MS,
      fraudAgeMs: HOUR_MS,
      deadLettersMax: 100,
    },
    faults(point) {
      if (fault !== undefined && point === "unit") throw new StorageError(fault);
    },
  });
  const server = new JournalServer({
    journal,
    environment,
    slots,
    send(_thread, kind, first, second) {
      const bytes = new Uint8Array(first.length + (second?.length ?? 0));
      bytes.set(first);
      if (second !== undefined) bytes.set(second, first.length);
      for (const record of rig.tamperDown(kind, bytes)) client.onRecord(kind, record);
      return true;
    },
  });
  const node = {
    send(_to: number, kind: number, first: Uint8Array): boolean {
      for (const record of rig.tamperUp(kind, first)) server.onRecord(CLIENT, kind, record);
      return true;
    },
  };
  const client: JournalClient = new JournalClient(node, JOURNAL);
  const reads = openJournalReads(directory);
  const rig: JournalRig = {
    environment,
    journal,
    broker: new EmbeddedBroker(client, ["t"]),
    store: createEmbeddedStore(client, reads),
    tamperDown: (_kind, bytes) => [bytes],
    tamperUp: (_kind, bytes) => [bytes],
    fail: (code) => void (fault = code),
    async publish(type, slot = 0) {
      const fields = { id: environment.newId(), timeMs: environment.nowMs(), key: `k${slot}` };
      const frame = encodeFrame({ ...fields, type, slot, payload: new Uint8Array(8) });
      const published = rig.broker.publish([{ topic: "t", frame }]);
      await rig.pass(TURN_MS);
      await published;
    },
    async pass(durationMs) {
      for (let passedMs = 0; passedMs < durationMs; passedMs += TURN_MS) {
        server.onTurn();
        client.onTurn();
        await environment.advance(TURN_MS);
        server.onTurn();
        client.onTurn();
        await environment.settle();
      }
    },
    close() {
      reads.close();
      server.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return rig;
}
