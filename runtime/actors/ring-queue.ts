/**
 * A bounded FIFO queue over one array: the body of mailboxes and of the run queue.
 *
 * It allocates nothing per item and forgets what it handed out. It refuses items over its capacity
 * and all items once closed; what then happens to them is decided above it.
 *
 *     slots   [ . . c d e f . . ]   length 4, mask 7
 *                   ^head   ^(head + length) & mask: the next item's slot
 */

import { assert } from "../errors.ts";

import { RING_SLOTS_MIN } from "./actor-limits.ts";

export class RingQueue<Item> {
  readonly capacity: number;
  /** Items waiting. Read-only outside. */
  length = 0;
  private slots: (Item | undefined)[];
  private mask: number;
  private head = 0;
  /** How many items fit without growing; 0 once closed. */
  private room: number;
  private closed = false;

  constructor(capacity: number) {
    assert(Number.isSafeInteger(capacity) && capacity >= 1, `capacity must be >= 1: ${capacity}`);
    this.capacity = capacity;
    this.slots = emptySlots(RING_SLOTS_MIN);
    this.mask = RING_SLOTS_MIN - 1;
    this.room = Math.min(RING_SLOTS_MIN, capacity);
  }

  /** False when full or closed; then nothing has changed. */
  push(item: Item): boolean {
    if (this.length >= this.room && !this.grow()) return false;
    this.slots[(this.head + this.length) & this.mask] = item;
    this.length++;
    return true;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  /** The oldest item. Must not be called when `length` is 0. */
  shift(): Item {
    const head = this.head;
    const item = this.slots[head];
    this.slots[head] = undefined;
    this.head = (head + 1) & this.mask;
    this.length--;
    return item as Item; // a slot between head and head + length was written by push
  }

  /** Takes out at most `itemsMax` of the oldest items, in order. */
  take(itemsMax: number): Item[] {
    const count = Math.min(itemsMax, this.length);
    const items: Item[] = [];
    for (let taken = 0; taken < count; taken++) items.push(this.shift());
    return items;
  }

  /** Refuses everything from now on; what waits can still be taken out. Idempotent. */
  close(): void {
    this.closed = true;
    this.room = 0;
  }

  /** Takes items again after `close`. */
  reopen(): void {
    this.closed = false;
    this.room = Math.min(this.slots.length, this.capacity);
  }

  private grow(): boolean {
    if (this.closed || this.length >= this.capacity) return false;
    const count = this.length;
    const grown = emptySlots<Item>(this.slots.length * 2);
    for (let index = 0; index < count; index++) {
      grown[index] = this.slots[(this.head + index) & this.mask];
    }
    this.slots = grown;
    this.mask = grown.length - 1;
    this.head = 0;
    this.room = Math.min(grown.length, this.capacity);
    return true;
  }
}

function emptySlots<Item>(count: number): (Item | undefined)[] {
  const slots: (Item | undefined)[] = [];
  for (let index = 0; index < count; index++) slots.push(undefined);
  return slots;
}
