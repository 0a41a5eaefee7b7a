/**
 * What a supervisor supervises: anything that starts, may exit by itself, and can be stopped.
 *
 * An actor, a worker thread, a subscription and a supervisor are all children. The words and their
 * meaning are those of Erlang/OTP's `supervisor`; unlike there, unknown values are refused.
 */

/** How a child ended. `shutdown`: asked to. `normal`: done by itself. `abnormal`: it failed. */
export type Exit =
  | { readonly kind: "normal" }
  | { readonly kind: "shutdown" }
  | { readonly kind: "abnormal"; readonly error: unknown };

/** `permanent`: always restarted. `transient`: only after an abnormal exit. `temporary`: never. */
export type RestartType = "permanent" | "transient" | "temporary";

export type Strategy = "one_for_one" | "one_for_all" | "rest_for_one";

/** A started child. */
export interface RunningChild {
  /** Ends it in good order; resolves when it has ended. Idempotent. */
  stop(): Promise<void>;
  /** Ends it without asking; used when `stop` missed its deadline. Must not throw. */
  kill(): void;
}

export interface ChildSpec {
  /** Unique among its siblings. */
  readonly id: string;
  readonly restart: RestartType;
  /** How long `stop` may take before `kill`, in ms; `brutal`: kill at once. */
  readonly shutdown: number | "brutal";
  /**
   * Starts one incarnation. `onExit` is called at most once, and only for an exit that was not
   * asked for by `stop` or `kill`. Rejecting means that this incarnation did not start.
   * `abandoned` aborts when nobody waits for the start any longer: let go of what was opened.
   */
  readonly start: (onExit: (exit: Exit) => void, abandoned?: AbortSignal) => Promise<RunningChild>;
}

/** Wait before restart n (from 0): min(maxMs, minMs · 2ⁿ) · (1 ± jitter). */
export interface Backoff {
  readonly minMs: number;
  readonly maxMs: number;
  /** 0..1: share of the delay that is random. */
  readonly jitter: number;
  /** n starts again at 0 after the child ran this long. */
  readonly resetAfterMs: number;
}

export interface SupervisorSpec {
  readonly id: string;
  readonly strategy: Strategy;
  /** More than this many restarts within `periodMs` and the supervisor gives up. */
  readonly intensity: number;
  readonly periodMs: number;
  /** Absent: restart at once. */
  readonly backoff?: Backoff;
  /** In start order. */
  readonly children: readonly ChildSpec[];
}
