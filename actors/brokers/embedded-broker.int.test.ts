/**
 * The embedded broker against the conformance suite: a real journal thread, real rings, a real
 * database in a temporary directory. A kill terminates the thread; the killing of whole processes
 * is in the journal's own tests.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { RunningChild } from "../../runtime/supervision/child.ts";
import type { FailingJournalData } from "../testing/failing-journal.ts";
import type { Broker, Subscription } from "./broker.ts";
import type { BrokerHooks, Setup } from "./broker-bench.suite.ts";

import { systemEnvironment } from "../../runtime/system-environment.ts";
import { createCounterPage } from "../../runtime/threads/counter-page.ts";
import { createHeartbeats } from "../../runtime/threads/heartbeat.ts";
import { createMeshMemory, MeshNode } from "../../runtime/threads/mesh.ts";
import { threadChild } from "../../runtime/threads/thread-child.ts";
import { SHOP_LAYOUT } from "../shop-metrics.ts";
import { JournalClient } from "../stores/journal-client.ts";
import { DISK_FULL, IO_FAULT, NO_FAULT } from "../testing/storage-fault.ts";
import { testBroker } from "./broker.suite.ts";
import { EMBEDDED_CAPABILITIES, EmbeddedBroker } from "./embedded-broker.ts";

const ME = 0;
const JOURNAL = 1;
const MIB = 1024 * 1024;

interface Running {
  readonly thread: RunningChild;
  readonly node: MeshNode;
  readonly client: JournalClient;
  readonly broker: EmbeddedBroker;
}

class EmbeddedHooks implements BrokerHooks {
  readonly environment = systemEnvironment;
  readonly #fault = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  #directory = "";
  #setup: Setup = { topics: [], partitions: 1 };
  #running: Running | undefined;

  async pass(durationMs: number): Promise<void> {
    await Bun.sleep(durationMs);
  }

  async start(setup: Setup): Promise<EmbeddedBroker> {
    this.#directory = await mkdtemp(join(tmpdir(), "shopstream-broker-"));
    this.#setup = setup;
    return await this.#open();
  }

  async stop(): Promise<void> {
    await this.#close("clean");
    await rm(this.#directory, { recursive: true, force: true });
  }

  // The suite takes these off the object, so they bring `this` along.
  readonly restart = async (kind: "clean" | "kill"): Promise<EmbeddedBroker> => {
    await this.#close(kind);
    return await this.#open();
  };

  /** What the journal does for each subscription of a thread whose death it is told. */
  readonly crashMember = async (_broker: Broker, subscription: Subscription): Promise<void> => {
    await subscription.close(false);
  };

  readonly diskFull = (on: boolean): void => this.#setFault(on ? DISK_FULL : NO_FAULT);

  readonly ioFault = (on: boolean): void => this.#setFault(on ? IO_FAULT : NO_FAULT);

  #setFault(fault: number): void {
    // Read by the journal's thread.
    Atomics.store(new Int32Array(this.#fault), 0, fault);
  }

  async #open(): Promise<EmbeddedBroker> {
    const memory = createMeshMemory(`broker-test-${systemEnvironment.newId()}`, [
      { from: ME, to: JOURNAL, ringBytes: 8 * MIB },
      { from: JOURNAL, to: ME, ringBytes: 8 * MIB },
    ]);
    const heartbeats = createHeartbeats(2);
    const counters = createCounterPage(SHOP_LAYOUT, 2);
    const thread = await threadChild({
      id: "journal",
      restart: "temporary",
      environment: systemEnvironment,
      entry: new URL("../testing/failing-journal.ts", import.meta.url),
      thread: JOURNAL,
      heartbeats,
      workerData: (): FailingJournalData => ({
        memory,
        heartbeats,
        counters,
        thread: JOURNAL,
        clients: [ME],
        backlogBytesMax: 256 * MIB,
        fault: this.#fault,
        journal: {
          directory: this.#directory,
          slots: this.#setup.partitions,
          topics: this.#setup.topics,
          retention: {
            logAgeMs: 3_600_000,
            logBytesMax: 256 * MIB,
            inboxAgeMs: 3_600_000,
            idempotencyAgeMs: 3_600_000,
            fraudAgeMs: 3_600_000,
            deadLettersMax: 10_000,
          },
        },
      }),
      readyWithinMs: 20_000,
      stallMs: 20_000,
      stopWithinMs: 10_000,
      stopGraceMs: 1_000,
    }).start(() => this.#running?.client.fail("the journal died"));
    const node = new MeshNode({
      memory,
      me: ME,
      environment: systemEnvironment,
      backlogBytesMax: 64 * MIB,
      listeners: [
        {
          from: JOURNAL,
          release: "read",
          onRecord: (kind, bytes) => client.onRecord(kind, bytes),
        },
      ],
      onTurn: () => client.onTurn(),
    });
    const client: JournalClient = new JournalClient(node, JOURNAL);
    const broker = new EmbeddedBroker(client, this.#setup.topics);
    this.#running = { thread, node, client, broker };
    return broker;
  }

  async #close(kind: "clean" | "kill"): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    if (running === undefined) return;
    const { thread, node, client, broker } = running;
    if (kind === "clean") await broker.close();
    else thread.kill();
    await thread.stop();
    client.fail("the journal was stopped");
    node.close();
  }
}

testBroker("embedded", EMBEDDED_CAPABILITIES, () => new EmbeddedHooks());
