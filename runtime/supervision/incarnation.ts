/**
 * One life of a child, from the call of `start` until it has ended.
 *
 * Whatever the child does, the supervisor is told exactly one outcome of the start and at most one
 * exit, and `terminate` ends within the shutdown deadline: a start that hangs is abandoned, a stop
 * that hangs or fails is followed by `kill`. Nothing that an old incarnation says later is heard.
 */

import { describeError, InvariantError } from "../errors.ts";

import type { Environment } from "../environment.ts";
import type { ChildSpec, Exit, RunningChild } from "./child.ts";

export type StartOutcome =
  | { readonly kind: "running" }
  | { readonly kind: "failed"; readonly error: unknown }
  /** `terminate` or `kill` came first. */
  | { readonly kind: "terminated" };

/** How an incarnation that was asked to end did end. `error`: why `stop` failed, if it did. */
export type Ending =
  { readonly kind: "stopped" } | { readonly kind: "killed"; readonly error?: unknown };

export interface IncarnationHooks {
  /** The start succeeded: called at most once, in the turn in which it is known. */
  readonly onRunning: () => void;
  /** It ended unasked: called at most once, and only after `onRunning`. */
  readonly onExit: (exit: Exit) => void;
}

export class Incarnation {
  /** Settles once; never rejects. */
  readonly outcome: Promise<StartOutcome>;
  readonly #shutdown: number | "brutal";
  readonly #environment: Environment;
  readonly #hooks: IncarnationHooks;
  readonly #abandonment = new AbortController();
  readonly #resolveOutcome: (outcome: StartOutcome) => void;
  /** Resolves when there is nothing left to wait for. */
  readonly #gone = Promise.withResolvers<void>();
  readonly #started: Promise<void>;
  #child: RunningChild | undefined;
  #phase: "starting" | "running" | "ending" | "over" = "starting";
  #ending: Promise<Ending> | undefined;

  /** Calls `spec.start` at once. */
  constructor(spec: ChildSpec, environment: Environment, hooks: IncarnationHooks) {
    const { promise, resolve } = Promise.withResolvers<StartOutcome>();
    this.outcome = promise;
    this.#resolveOutcome = resolve;
    this.#shutdown = spec.shutdown;
    this.#environment = environment;
    this.#hooks = hooks;
    this.#started = this.#start(spec);
  }

  /** Asks it to end, and kills it at its deadline. Resolves when it has ended; never rejects. */
  terminate(): Promise<Ending> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  /** Ends it now. */
  kill(): void {
    if (this.#phase === "over") return;
    this.#phase = "over";
    this.#resolveOutcome({ kind: "terminated" });
    this.#abandonment.abort();
    this.#child?.kill();
    this.#gone.resolve();
  }

  async #start(spec: ChildSpec): Promise<void> {
    try {
      const child = await spec.start((exit) => this.#hearExit(exit), this.#abandonment.signal);
      // It may have been given up meanwhile, or have ended before it said that it had started.
      if (this.#phase === "over") return child.kill();
      this.#child = child;
      if (this.#phase === "ending") return;
      this.#phase = "running";
      this.#hooks.onRunning();
      this.#resolveOutcome({ kind: "running" });
    } catch (error) {
      this.#phase = "over";
      this.#resolveOutcome({ kind: "failed", error });
      this.#gone.resolve();
    }
  }

  #hearExit(exit: Exit): void {
    const phase = this.#phase;
    this.#phase = "over";
    this.#gone.resolve();
    if (phase === "running") this.#hooks.onExit(exit);
    if (phase === "starting") {
      const error =
        exit.kind === "abnormal"
          ? exit.error
          : new InvariantError(`ended (${exit.kind}) before it had started`);
      this.#resolveOutcome({ kind: "failed", error });
    }
  }

  async #end(): Promise<Ending> {
    if (this.#phase === "over") return { kind: "stopped" };
    if (this.#shutdown === "brutal") {
      this.kill();
      return { kind: "killed" };
    }
    const wasStarting = this.#phase === "starting";
    this.#phase = "ending";
    const deadline = Promise.withResolvers<Ending>();
    const timer = this.#environment.startTimer(this.#shutdown, () => {
      deadline.resolve({ kind: "killed" });
    });
    const ended = this.#gone.promise.then((): Ending => ({ kind: "stopped" }));
    const ending = await Promise.race([this.#stopGracefully(), ended, deadline.promise]);
    timer.cancel();
    if (wasStarting) this.#resolveOutcome({ kind: "terminated" });
    if (ending.kind === "killed") this.kill();
    this.#phase = "over";
    return ending;
  }

  async #stopGracefully(): Promise<Ending> {
    try {
      await this.#started;
      await this.#child?.stop();
      return { kind: "stopped" };
    } catch (error) {
      return { kind: "killed", error: describeError(error) };
    }
  }
}
