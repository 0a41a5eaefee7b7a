/**
 * Carries out what `decide` decides: starts, stops, waits and restarts the children of one spec.
 *
 * Children start in order and stop in reverse order, each with its deadline. A start or stop that
 * hangs holds up only those that must wait for it, never `stop`. It knows nothing of what a child
 * is, and catches nothing to go on as if it had not happened: a child that failed is replaced, a
 * supervisor whose children keep failing gives up and reports it.
 */

import { InvariantError, ShopError } from "../errors.ts";
import { decide } from "./decide.ts";
import { Incarnation } from "./incarnation.ts";
import { createRepair, createSlot, pauseRepair, releaseSlot } from "./slot.ts";
import { startFailure } from "./start-failure.ts";
import { checkChildSpec, CHILDREN_MAX, checkSupervisorSpec } from "./supervisor-spec.ts";

import type { Environment } from "../environment.ts";
import type { ChildSpec, Exit, RunningChild, SupervisorSpec } from "./child.ts";
import type { Directive } from "./decide.ts";
import type { ChildPhase, Repair, Slot } from "./slot.ts";

export interface ChildInfo {
  readonly id: string;
  readonly state: ChildPhase;
  /** How often it was started again. */
  readonly restarts: number;
}

export interface ChildCounts {
  readonly specs: number;
  /** Children that run now. */
  readonly active: number;
  readonly restarting: number;
}

export type SupervisorEvent =
  | { readonly kind: "child_started"; readonly childId: string; readonly restarts: number }
  | { readonly kind: "child_exited"; readonly childId: string; readonly exit: Exit }
  | { readonly kind: "child_start_failed"; readonly childId: string; readonly error: unknown }
  | { readonly kind: "child_restarting"; readonly childId: string; readonly afterMs: number }
  | { readonly kind: "child_stopped"; readonly childId: string }
  /** It missed its deadline, is `brutal`, or its `stop` failed with `error`. */
  | { readonly kind: "child_killed"; readonly childId: string; readonly error?: unknown }
  | { readonly kind: "gave_up"; readonly error: Error };

export interface SupervisorOptions {
  /** For logs and metrics; must not throw. */
  readonly onEvent?: (event: SupervisorEvent, supervisorId: string) => void;
  /** Called at most once, after every child has ended, when the supervisor gave up. */
  readonly onGiveUp?: (error: Error) => void;
  /** When it aborts before all children have started, those that have are killed. */
  readonly abandoned?: AbortSignal;
}

/** `restarting` and `running`: nothing was done. `unknown`: there is no such child. */
export type RestartAnswer = "started" | "running" | "restarting" | "unknown";
export type DeleteAnswer = "deleted" | "running" | "restarting" | "unknown";

export interface Supervisor extends RunningChild {
  readonly id: string;
  /** Every child, in start order. */
  which(): readonly ChildInfo[];
  counts(): ChildCounts;
  /**
   * Adds a child after all others and starts it. Rejects with what `start` rejected with, naming
   * the child, and then has not added it; `BAD_CONFIGURATION` for a bad or duplicate spec,
   * `SATURATED` when there are too many, `CLOSED` when the supervisor is stopping.
   */
  startChild(spec: ChildSpec): Promise<void>;
  /** Starts a stopped child again. Rejects when the start fails; it is then still stopped. */
  restartChild(id: string): Promise<RestartAnswer>;
  /** Ends a child, or cancels its restart. A temporary child is forgotten, others stay listed. */
  stopChild(id: string): Promise<"stopped" | "unknown">;
  /** Drops a stopped child's specification. */
  deleteChild(id: string): DeleteAnswer;
}

/**
 * Starts all children in order. Rejects, after stopping in reverse order those that had started,
 * with an error that names the child and carries the cause; `BAD_CONFIGURATION` for a bad spec.
 */
export async function startSupervisor(
  spec: SupervisorSpec,
  environment: Environment,
  options: SupervisorOptions = {},
): Promise<Supervisor> {
  checkSupervisorSpec(spec);
  const supervisor = new TreeSupervisor(spec, environment, options);
  const abandon = (): void => supervisor.kill();
  options.abandoned?.addEventListener("abort", abandon);
  await supervisor.start();
  options.abandoned?.removeEventListener("abort", abandon);
  return supervisor;
}

class TreeSupervisor implements Supervisor {
  readonly id: string;
  readonly #spec: SupervisorSpec;
  readonly #environment: Environment;
  readonly #options: SupervisorOptions;
  /** In start order. */
  readonly #slots = new Map<string, Slot>();
  /** Exits heard before the last child had started, at most one a child; then `undefined`. */
  #earlyExits: (() => void)[] | undefined = [];
  #restartTimesMs: readonly number[] = [];
  #ending: Promise<void> | undefined;
  #stopAsked = false;

  constructor(spec: SupervisorSpec, environment: Environment, options: SupervisorOptions) {
    this.id = spec.id;
    this.#spec = spec;
    this.#environment = environment;
    this.#options = options;
    for (const child of spec.children) this.#slots.set(child.id, createSlot(child, false));
  }

  async start(): Promise<void> {
    for (const slot of this.#slots.values()) {
      const failure = await this.#launch(slot);
      if (failure === undefined) continue;
      await this.stop();
      throw failure;
    }
    this.#refuseWhenEnding();
    const earlyExits = this.#earlyExits ?? [];
    this.#earlyExits = undefined;
    for (const handle of earlyExits) handle();
  }

  which(): readonly ChildInfo[] {
    return [...this.#slots.values()].map((slot) => ({
      id: slot.id,
      state: slot.phase,
      restarts: slot.restarts,
    }));
  }

  counts(): ChildCounts {
    let active = 0;
    let restarting = 0;
    for (const slot of this.#slots.values()) {
      if (slot.phase === "running") active++;
      if (slot.phase === "restarting") restarting++;
    }
    return { specs: this.#slots.size, active, restarting };
  }

  async startChild(spec: ChildSpec): Promise<void> {
    this.#refuseWhenEnding();
    checkChildSpec(`supervisor ${this.id}`, spec);
    if (this.#slots.has(spec.id)) {
      const message = `supervisor ${this.id}: child: id: ${spec.id} is not unique`;
      throw new ShopError("BAD_CONFIGURATION", message, "never");
    }
    if (this.#slots.size >= CHILDREN_MAX) {
      const message = `supervisor ${this.id} has ${CHILDREN_MAX} children`;
      throw new ShopError("SATURATED", message, "later");
    }
    const slot = createSlot(spec, true);
    this.#slots.set(spec.id, slot);
    const failure = await this.#launch(slot);
    if (failure === undefined) return;
    this.#forget(slot);
    throw failure;
  }

  async restartChild(id: string): Promise<RestartAnswer> {
    const slot = this.#slots.get(id);
    if (slot === undefined) return "unknown";
    if (slot.phase !== "stopped") return slot.phase === "running" ? "running" : "restarting";
    this.#refuseWhenEnding();
    slot.phase = "starting";
    slot.restarts++;
    const failure = await this.#launch(slot);
    if (failure !== undefined) throw failure;
    return "started";
  }

  async stopChild(id: string): Promise<"stopped" | "unknown"> {
    const slot = this.#slots.get(id);
    if (slot === undefined) return "unknown";
    releaseSlot(slot);
    await this.#terminate(slot);
    // A repair of its siblings may have taken it over meanwhile, and will start it again.
    if (slot.repair !== undefined) return "stopped";
    slot.phase = "stopped";
    if (slot.restart === "temporary") this.#forget(slot);
    return "stopped";
  }

  deleteChild(id: string): DeleteAnswer {
    const slot = this.#slots.get(id);
    if (slot === undefined) return "unknown";
    if (slot.phase !== "stopped") return slot.phase === "running" ? "running" : "restarting";
    this.#forget(slot);
    return "deleted";
  }

  stop(): Promise<void> {
    this.#stopAsked = true;
    this.#ending ??= this.#endAll();
    return this.#ending;
  }

  kill(): void {
    this.#stopAsked = true;
    this.#ending ??= Promise.resolve();
    for (const slot of [...this.#slots.values()].toReversed()) {
      releaseSlot(slot);
      slot.incarnation?.kill();
      slot.phase = "stopped";
    }
  }

  #refuseWhenEnding(): void {
    if (this.#ending === undefined) return;
    throw new ShopError("CLOSED", `supervisor ${this.id} is stopping`, "never");
  }

  #forget(slot: Slot): void {
    releaseSlot(slot);
    if (this.#slots.get(slot.id) === slot) this.#slots.delete(slot.id);
  }

  /** Starts one incarnation. Returns why it does not run, or `undefined` when it does. */
  async #launch(slot: Slot): Promise<Error | undefined> {
    if (this.#ending !== undefined) return stoppedWhileStarting(slot.id);
    const incarnation = new Incarnation(slot.spec, this.#environment, {
      onRunning: () => {
        releaseSlot(slot);
        slot.phase = "running";
        slot.startedAtMs = this.#environment.monotonicMs();
        this.#emit({ kind: "child_started", childId: slot.id, restarts: slot.restarts });
      },
      onExit: (exit) => this.#hearExit(slot, exit),
    });
    slot.incarnation = incarnation;
    slot.alive = true;
    slot.startedAtMs = undefined;
    const outcome = await incarnation.outcome;
    if (outcome.kind === "running") return undefined;
    if (outcome.kind === "terminated") return stoppedWhileStarting(slot.id);
    clearIncarnation(slot, incarnation);
    if (slot.phase === "starting") slot.phase = "stopped";
    this.#emit({ kind: "child_start_failed", childId: slot.id, error: outcome.error });
    return startFailure(slot.id, outcome.error);
  }

  /** Ends the present incarnation, if there is one, by the child's own shutdown rule. */
  async #terminate(slot: Slot): Promise<void> {
    const incarnation = slot.incarnation;
    if (incarnation === undefined) return;
    const ending = await incarnation.terminate();
    // Of several that waited for the same end, the first does this.
    if (!clearIncarnation(slot, incarnation)) return;
    if (ending.kind === "stopped") this.#emit({ kind: "child_stopped", childId: slot.id });
    else this.#emit({ ...ending, kind: "child_killed", childId: slot.id });
  }

  #hearExit(slot: Slot, exit: Exit): void {
    slot.incarnation = undefined;
    slot.alive = false;
    this.#emit({ kind: "child_exited", childId: slot.id, exit });
    if (this.#earlyExits !== undefined) this.#earlyExits.push(() => this.#decide(slot, exit));
    else this.#decide(slot, exit);
  }

  #decide(slot: Slot, exit: Exit): void {
    // In the hands of a repair it was about to be stopped anyway, and will be started again.
    if (this.#ending !== undefined || slot.repair !== undefined) return;
    const decision = decide(
      this.#spec,
      this.#slots,
      this.#restartTimesMs,
      { childId: slot.id, exit },
      { nowMs: this.#environment.monotonicMs(), random: this.#environment.random() },
    );
    this.#restartTimesMs = decision.restartTimesMs;
    slot.series = decision.series;
    const repair = createRepair(this.#listMembers(decision.directives));
    this.#carryOut(repair, decision.directives, exit).catch((error: unknown) => {
      this.#giveUp(new InvariantError(`supervisor ${this.id} broke down`, { cause: error }));
    });
  }

  *#listMembers(directives: readonly Directive[]): Iterable<Slot> {
    for (const directive of directives) {
      if (directive.kind === "give_up") continue;
      for (const id of directive.kind === "restart" ? directive.ids : [directive.id]) {
        const slot = this.#slots.get(id);
        if (slot === undefined) continue;
        if (directive.kind === "restart") slot.phase = "restarting";
        yield slot;
      }
    }
  }

  async #carryOut(repair: Repair, directives: readonly Directive[], exit: Exit): Promise<void> {
    for (const directive of directives) {
      switch (directive.kind) {
        case "give_up":
          this.#giveUp(this.#describeGivingUp(directive, exit));
          break;
        case "restart":
          await this.#restart(repair, directive.ids, directive.afterMs);
          break;
        case "stop":
        case "forget":
        case "rest": {
          const slot = this.#slots.get(directive.id);
          if (slot?.repair !== repair) break;
          if (directive.kind === "stop") await this.#terminate(slot);
          else if (directive.kind === "forget") this.#forget(slot);
          else settleStopped(slot);
        }
      }
    }
  }

  async #restart(repair: Repair, ids: readonly string[], afterMs: number): Promise<void> {
    for (const id of ids) this.#emit({ kind: "child_restarting", childId: id, afterMs });
    await pauseRepair(repair, afterMs, this.#environment);
    for (const id of ids) {
      const slot = this.#slots.get(id);
      if (slot?.repair !== repair) continue;
      slot.restarts++;
      const failure = await this.#launch(slot);
      if (failure === undefined || slot.repair !== repair) continue;
      releaseSlot(slot);
      this.#decide(slot, { kind: "abnormal", error: failure });
      return;
    }
  }

  #giveUp(error: Error): void {
    if (this.#ending !== undefined) return;
    this.#emit({ kind: "gave_up", error });
    const ending = this.#endAll();
    this.#ending = ending;
    const report = (): void => {
      if (!this.#stopAsked) this.#options.onGiveUp?.(error);
    };
    // Reported even if ending the children broke down: a tree that gave up must not stand still.
    ending.then(report, report);
  }

  async #endAll(): Promise<void> {
    const slots = [...this.#slots.values()].toReversed();
    for (const slot of slots) releaseSlot(slot);
    // Peers that do not depend on each other end together, before what they all depend on.
    const peers = this.#spec.strategy === "one_for_one" ? slots.filter((slot) => slot.dynamic) : [];
    await Promise.all(peers.map((slot) => this.#terminate(slot)));
    for (const slot of slots) {
      await this.#terminate(slot);
      slot.phase = "stopped";
    }
  }

  #describeGivingUp(directive: Directive & { readonly kind: "give_up" }, exit: Exit): Error {
    const what = `child ${directive.childId} ended: ${directive.restarts} restarts`;
    const allowed = `${this.#spec.intensity} are allowed in ${this.#spec.periodMs} ms`;
    const cause = exit.kind === "abnormal" ? exit.error : exit.kind;
    return new InvariantError(`supervisor ${this.id} gave up, ${what}, ${allowed}`, { cause });
  }

  #emit(event: SupervisorEvent): void {
    this.#options.onEvent?.(event, this.id);
  }
}

/** False when the child has another incarnation, or none, already. */
function clearIncarnation(slot: Slot, incarnation: Incarnation): boolean {
  if (slot.incarnation !== incarnation) return false;
  slot.incarnation = undefined;
  slot.alive = false;
  return true;
}

function settleStopped(slot: Slot): void {
  releaseSlot(slot);
  slot.phase = "stopped";
}

function stoppedWhileStarting(id: string): Error {
  return new ShopError("CLOSED", `child ${id} was stopped while it started`, "never");
}
