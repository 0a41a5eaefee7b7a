/**
 * The frames of one lane in memory, in the order in which they leave the outbox.
 *
 * Bounded by whoever adds to it. Frames may be taken out from the middle, as those of one topic may
 * be confirmed before those of another; what they need is free once everything before them is out.
 */

import type { OutboxFrame } from "./outbox-relay-table.ts";

export interface BatchBounds {
  readonly framesMax: number;
  readonly bytesMax: number;
}

export class FrameQueue {
  readonly #frames: OutboxFrame[] = [];
  #head = 0;
  /** Behind the head, and out already. */
  readonly #out = new Set<number>();
  #bytes = 0;

  /** Frames that are not out. */
  get length(): number {
    return this.kept - this.#out.size;
  }

  /** Those that are out, and not free yet, included. */
  get kept(): number {
    return this.#frames.length - this.#head;
  }

  /** Of all that are kept. */
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
      if (this.#out.has(frame.id)) continue;
      bytes += frame.frame.byteLength;
      if (bytes > bytesMax && batch.length > 0) break;
      batch.push(frame);
    }
    return batch;
  }

  /** What is behind the head is moved down once that is worth `trimFrames`. */
  remove(frames: readonly OutboxFrame[], trimFrames: number): void {
    for (const { id } of frames) this.#out.add(id);
    for (let next = this.#frames[this.#head]; next !== undefined;) {
      if (!this.#out.delete(next.id)) break;
      this.#bytes -= next.frame.byteLength;
      next = this.#frames[++this.#head];
    }
    if (this.#head < this.#frames.length && this.#head < trimFrames) return;
    this.#frames.splice(0, this.#head);
    this.#head = 0;
  }
}
