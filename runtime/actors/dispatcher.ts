/**
 * Gives the actors of one thread their turns, and the event loop its chance between them.
 *
 * Actors that have something to do stand in one queue, each at most once. A turn is bounded in
 * messages, a slice of turns in time and number; after a slice the dispatcher defers itself, so
 * timers and I/O live however busy the actors are. It never runs an actor in a sender's stack.
 */

import { assert } from "../errors.ts";
import type { Environment } from "../environment.ts";

import { ACTORS_MAX, SLICE_MS, TURNS_PER_SLICE_MAX } from "./actor-limits.ts";
import { RingQueue } from "./ring-queue.ts";

export interface Runnable {
  /** Handles at most about `messagesMax` messages and comes back to the queue by itself. */
  run(messagesMax: number): void;
}

export class Dispatcher {
  private readonly environment: Environment;
  private readonly messagesPerTurn: number;
  private readonly queue = new RingQueue<Runnable>(ACTORS_MAX);
  private readonly slice = (): void => this.runSlice();
  private deferred = false;

  constructor(environment: Environment, messagesPerTurn: number) {
    assert(messagesPerTurn >= 1, `messagesPerTurn must be >= 1: ${messagesPerTurn}`);
    this.environment = environment;
    this.messagesPerTurn = messagesPerTurn;
  }

  /** The caller makes sure that `runnable` is not in the queue yet. */
  enqueue(runnable: Runnable): void {
    assert(this.queue.push(runnable), "more actors than the run queue has places");
    if (this.deferred) return;
    this.deferred = true;
    this.environment.defer(this.slice);
  }

  private runSlice(): void {
    const untilMs = this.environment.monotonicMs() + SLICE_MS;
    let turns = 0;
    try {
      while (this.queue.length > 0) {
        this.queue.shift().run(this.messagesPerTurn);
        if (++turns >= TURNS_PER_SLICE_MAX || this.environment.monotonicMs() >= untilMs) break;
      }
    } finally {
      // In a finally, so that a throwing hook of the host cannot strand the actors behind it.
      this.deferred = this.queue.length > 0;
      if (this.deferred) this.environment.defer(this.slice);
    }
  }
}
