/**
 * A worker thread as a supervisor's child.
 *
 * A thread counts as started when it said so, and as dead when it raised an error, exited, or
 * stopped beating. A dead thread is terminated and seen to be gone before its supervisor hears of
 * it, so that its successor never shares a ring with it.
 */

import type { Environment } from "../environment.ts";
import type { ChildSpec, Exit, RestartType, RunningChild } from "../supervision/child.ts";
import type { FromThread, ToThread } from "./thread-entry.ts";

import { Worker } from "node:worker_threads";

import { describeError, ShopError } from "../errors.ts";
import { monitorHeartbeat } from "./heartbeat.ts";

export interface ThreadChildOptions {
  readonly id: string;
  readonly restart: RestartType;
  readonly environment: Environment;
  /** Module that calls `runThread`. */
  readonly entry: URL;
  /** Index of the thread's word in `heartbeats`. */
  readonly thread: number;
  readonly heartbeats: SharedArrayBuffer;
  /** What the worker is given, made anew for each incarnation (counted from 0). */
  readonly workerData: (incarnation: number) => unknown;
  /** Awaited before each incarnation. */
  readonly before?: (incarnation: number) => Promise<void>;
  readonly readyWithinMs: number;
  /** No beat for this long: the thread is stalled. */
  readonly stallMs: number;
  readonly stopWithinMs: number;
  /** Time beyond `stopWithinMs` before the thread is terminated. */
  readonly stopGraceMs: number;
  readonly onStarted?: (thread: RunningThread, incarnation: number) => void;
  readonly onMessage?: (body: unknown) => void;
}

export interface RunningThread {
  /** Sends a `custom` message. */
  tell(body: unknown): void;
}

export function threadChild(options: ThreadChildOptions): ChildSpec {
  let incarnations = 0;
  return {
    id: options.id,
    restart: options.restart,
    shutdown: options.stopWithinMs + options.stopGraceMs,
    async start(onExit) {
      const incarnation = incarnations++;
      await options.before?.(incarnation);
      const thread = new Incarnation(options, incarnation, onExit);
      await thread.ready;
      options.onStarted?.(thread, incarnation);
      return thread;
    },
  };
}

class Incarnation implements RunningChild, RunningThread {
  readonly ready: Promise<void>;
  readonly #options: ThreadChildOptions;
  readonly #worker: Worker;
  readonly #onExit: (exit: Exit) => void;
  readonly #gone: Promise<void>;
  readonly #timers: { cancel(): void }[] = [];
  readonly #ready = Promise.withResolvers<void>();
  readonly #stopped = Promise.withResolvers<void>();
  #state: "starting" | "running" | "stopping" | "ended" = "starting";

  constructor(options: ThreadChildOptions, incarnation: number, onExit: (exit: Exit) => void) {
    this.#options = options;
    this.#onExit = onExit;
    this.ready = this.#ready.promise;
    this.#worker = new Worker(options.entry, { workerData: options.workerData(incarnation) });
    const gone = Promise.withResolvers<void>();
    this.#gone = gone.promise;
    this.#worker.on("message", (message: FromThread) => this.#hear(message));
    this.#worker.on("error", (error) => {
      const problem = `${options.id} failed: ${describeError(error)}`;
      this.#fail(new ShopError("CLOSED", problem, "later", { cause: error }));
    });
    this.#worker.on("exit", (code) => {
      gone.resolve();
      // A rejection that nobody handled closes with code 0, so the code says nothing.
      this.#fail(new ShopError("CLOSED", `${options.id} exited with code ${code}`, "later"));
    });
    this.#timers.push(
      options.environment.startTimer(options.readyWithinMs, () => {
        const problem = `${options.id} was not ready within ${options.readyWithinMs} ms`;
        this.#fail(new ShopError("CLOSED", problem, "later"));
      }),
    );
  }

  tell(body: unknown): void {
    if (this.#state === "running") this.#say({ kind: "custom", body });
  }

  async stop(): Promise<void> {
    if (this.#state === "running") {
      this.#state = "stopping";
      this.#say({ kind: "stop", withinMs: this.#options.stopWithinMs });
      await Promise.race([this.#stopped.promise, this.#gone]);
    }
    this.kill();
    await this.#gone;
  }

  kill(): void {
    this.#endAs(new ShopError("CLOSED", `${this.#options.id} was stopped`, "never"));
  }

  #say(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #hear(message: FromThread): void {
    if (message.kind === "custom") this.#options.onMessage?.(message.body);
    if (message.kind === "stopped") this.#stopped.resolve();
    if (message.kind === "failed") {
      const problem = `${this.#options.id}: ${message.code}: ${message.message}`;
      this.#fail(new ThreadFailure(problem, message.code, message.message));
    }
    if (message.kind === "ready" && this.#state === "starting") {
      for (const timer of this.#timers.splice(0)) timer.cancel();
      this.#state = "running";
      const { environment, heartbeats, thread, stallMs, id } = this.#options;
      this.#timers.push(
        monitorHeartbeat(heartbeats, thread, environment, stallMs, () => {
          this.#fail(new ShopError("CLOSED", `${id} has not turned for ${stallMs} ms`, "later"));
        }),
      );
      this.#ready.resolve();
    }
  }

  /** The first failure counts; what follows from it, like the exit, does not. */
  #fail(error: Error): void {
    const wasRunning = this.#state === "running";
    if (this.#state === "ended") return;
    this.#endAs(error);
    if (wasRunning) void this.#gone.then(() => this.#onExit({ kind: "abnormal", error }));
  }

  /** Ends in the `exit` event of the worker, which is what everybody waits for. */
  #endAs(error: Error): void {
    if (this.#state === "ended") return;
    const wasStarting = this.#state === "starting";
    this.#state = "ended";
    for (const timer of this.#timers.splice(0)) timer.cancel();
    void this.#worker.terminate();
    if (wasStarting) void this.#gone.then(() => this.#ready.reject(error));
  }
}

/** A thread that could not start, with the code it gave. */
export class ThreadFailure extends Error {
  override readonly name = "ThreadFailure";
  readonly threadCode: string;
  readonly threadMessage: string;

  constructor(message: string, threadCode: string, threadMessage: string) {
    super(message);
    this.threadCode = threadCode;
    this.threadMessage = threadMessage;
  }
}
