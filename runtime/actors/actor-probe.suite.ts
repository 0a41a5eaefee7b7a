/**
 * A system on a virtual clock that keeps what it reports: the ground of the actor tests.
 *
 * It holds failures and undelivered messages in order; nothing here asserts by itself.
 */

import { createVirtualEnvironment } from "../virtual-environment.ts";
import type { VirtualEnvironment } from "../virtual-environment.ts";

import type { ActorFailure } from "./actor-failure.ts";
import { createActorSystem } from "./actor-system.ts";
import type { ActorSystem, ActorSystemOptions } from "./actor-system.ts";
import type { Undelivered } from "./undelivered.ts";

export interface ProbedSystem {
  readonly environment: VirtualEnvironment;
  readonly system: ActorSystem;
  readonly failures: ActorFailure[];
  readonly undelivered: Undelivered[];
  settle(): Promise<void>;
}

export function createProbedSystem(options: Partial<ActorSystemOptions> = {}): ProbedSystem {
  const environment = createVirtualEnvironment();
  const failures: ActorFailure[] = [];
  const undelivered: Undelivered[] = [];
  const system = createActorSystem(environment, {
    name: "test",
    onFailure: (failure) => void failures.push(failure),
    onDeadLetter: (letter) => void undelivered.push(letter),
    ...options,
  });
  return { environment, system, failures, undelivered, settle: () => environment.settle() };
}

/** A promise and what settles it. */
export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
  break(error: unknown): void;
}

export function createGate(): Gate {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { opened: promise, open: () => resolve(), break: (error) => reject(error) };
}
