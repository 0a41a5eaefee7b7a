/**
 * Supervisors above supervisors: one as a child of another, and the one that has none above it.
 *
 * A supervisor that gives up has failed as a child, and the supervisor above decides. The root has
 * nobody above it, so it ends the process with a code that is not 0: nothing goes on half alive.
 */

import { DURATION_MS_MAX } from "./supervisor-spec.ts";
import { startSupervisor } from "./supervisor.ts";

import type { Environment } from "../environment.ts";
import type { ChildSpec, RestartType, SupervisorSpec } from "./child.ts";
import type { Supervisor, SupervisorOptions } from "./supervisor.ts";

/** Exit code of a process whose supervision tree gave up. */
export const EXIT_CODE_GAVE_UP = 1;

/** What a nested supervisor gets beyond the deadlines of its own children. */
const SHUTDOWN_MARGIN_MS = 1_000;

export interface SupervisorChildOptions extends Pick<SupervisorOptions, "onEvent"> {
  /** Default: `permanent`. */
  readonly restart?: RestartType;
  /** Default: the sum of the static children's deadlines and a margin of 1 s. */
  readonly shutdownMs?: number;
  /** Called with each incarnation once it has started: the way to its dynamic children. */
  readonly onStart?: (supervisor: Supervisor) => void;
}

/** A child that is a whole supervisor, with its id. When it gives up it exits abnormally. */
export function supervisorChild(
  spec: SupervisorSpec,
  environment: Environment,
  options: SupervisorChildOptions = {},
): ChildSpec {
  return {
    id: spec.id,
    restart: options.restart ?? "permanent",
    shutdown: options.shutdownMs ?? sumShutdownMs(spec),
    start: async (onExit, abandoned) => {
      const supervisor = await startSupervisor(spec, environment, {
        ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
        ...(abandoned === undefined ? {} : { abandoned }),
        onGiveUp: (error) => onExit({ kind: "abnormal", error }),
      });
      options.onStart?.(supervisor);
      return supervisor;
    },
  };
}

/**
 * Starts the tree of this process. Rejects when the first start fails; afterwards calls `exit(1)`
 * once when the tree gives up, after everything in it has ended.
 */
export function superviseRoot(
  spec: SupervisorSpec,
  environment: Environment,
  exit: (code: number) => void,
  options: Pick<SupervisorOptions, "onEvent"> = {},
): Promise<Supervisor> {
  return startSupervisor(spec, environment, {
    ...options,
    onGiveUp: () => exit(EXIT_CODE_GAVE_UP),
  });
}

function sumShutdownMs(spec: SupervisorSpec): number {
  let totalMs = SHUTDOWN_MARGIN_MS;
  for (const child of spec.children) if (child.shutdown !== "brutal") totalMs += child.shutdown;
  return Math.min(totalMs, DURATION_MS_MAX);
}
