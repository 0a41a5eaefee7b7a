/**
 * The frames of one line in memory, in the order in which they leave the outbox.
 *
 * Bounded by whoever adds to it. They leave from the front, or all of a topic at once.
 */

import type { OutboxFrame } from "./outbox-relay-table.ts";

export interface BatchBounds {
  readonly framesMax: number;
  readonly bytesMax: number;
}

export class FrameQueue {
  #frames: OutboxFrame[] = [];
  #head = 0;
  #bytes = 0;

  get length(): number {
    return this.#frames.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(frame: OutboxFrame): void {
    this.#frames.push(frame);
    this.#bytes += frame.frame.byteLength;
  }

  has(id: number): boolean {
    return this.#frames.findIndex((frame, at) => at >= this.#head && frame.id === id) >= 0;
  }

  /** The first of them; at least one, however large, if there is any. */
  first({ framesMax, bytesMax }: BatchBounds): readonly OutboxFrame[] {
    const batch: OutboxFrame[] = [];
    let bytes = 0;
    for (let at = this.#head; at < this.#frames.length && batch.length < framesMax; at++) {
      const frame = this.#frames[at]!; // `!`: within the loop's bound
      bytes += frame.frame.byteLength;
      if (bytes > bytesMax && batch.length > 0) break;
      batch.push(frame);
    }
    return batch;
  }

  /** So many leave from the front; what is behind it is moved down once worth `trimFrames`. */
  shift(count: number, trimFrames: number): void {
    const end = Math.min(this.#frames.length, this.#head + count);
    for (; this.#head < end; this.#head++) {
      this.#bytes -= this.#frames[this.#head]!.frame.byteLength; // `!`: before the end
    }
    if (this.#head < this.#frames.length && this.#head < trimFrames) return;
    this.#frames.splice(0, this.#head);
    this.#head = 0;
  }

  /** All of `topic` leave, in order. */
  takeTopic(topic: string): readonly OutboxFrame[] {
    const kept = this.#frames.slice(this.#head);
    const taken = kept.filter((frame) => frame.topic === topic);
    this.#frames = kept.filter((frame) => frame.topic !== topic);
    this.#head = 0;
    for (const { frame } of taken) this.#bytes -= frame.byteLength;
    return taken;
  }
}
