/**
 * One lane for each key: the first item of a lane may run, the others wait behind it.
 *
 * Holds no clock and makes no decision. Its size is bounded from outside, by the credit of the
 * subscription; a lane without items is forgotten. A `Map` is not used for the reason given in
 * `roster.ts`: its outgrown tables would keep every item alive.
 */

import { assert } from "../../runtime/errors.ts";

export interface Lanes<Item> {
  /** True when `item` is now the head of its lane. */
  add(item: Item): boolean;
  /** Takes `item` out wherever it stands. Answers the item that became head through that. */
  remove(item: Item): Item | undefined;
}

const BUCKETS_MIN = 64;
/** About so many characters of a long key are looked at to find its bucket. */
const SAMPLES = 32;

interface Lane<Item> {
  readonly key: string;
  readonly hash: number;
  head: Item;
  /** In order; absent as long as there was never more than one. */
  behind: Item[] | undefined;
  /** In the same bucket. */
  next: Lane<Item> | undefined;
}

export function createLanes<Item extends { readonly lane: string }>(): Lanes<Item> {
  let buckets = newBuckets<Item>(BUCKETS_MIN);
  let count = 0;

  function add(item: Item): boolean {
    const hash = hashOf(item.lane);
    const lane = find(item.lane, hash);
    if (lane !== undefined) {
      (lane.behind ??= []).push(item);
      return false;
    }
    if (count >= buckets.length) grow();
    const at = hash & (buckets.length - 1);
    buckets[at] = { key: item.lane, hash, head: item, behind: undefined, next: buckets[at] };
    count++;
    return true;
  }

  function remove(item: Item): Item | undefined {
    const hash = hashOf(item.lane);
    const lane = find(item.lane, hash);
    assert(lane !== undefined, "an item left its lane twice");
    if (lane.head !== item) {
      const at = lane.behind?.indexOf(item) ?? -1;
      assert(at >= 0, "an item left its lane twice");
      lane.behind?.splice(at, 1);
      return undefined;
    }
    const next = lane.behind?.shift();
    if (next === undefined) forget(lane);
    else lane.head = next;
    return next;
  }

  function find(key: string, hash: number): Lane<Item> | undefined {
    let lane = buckets[hash & (buckets.length - 1)];
    while (lane !== undefined && (lane.hash !== hash || lane.key !== key)) lane = lane.next;
    return lane;
  }

  function forget(lane: Lane<Item>): void {
    const at = lane.hash & (buckets.length - 1);
    let before = buckets[at];
    if (before === lane) {
      buckets[at] = lane.next;
    } else {
      while (before !== undefined && before.next !== lane) before = before.next;
      if (before !== undefined) before.next = lane.next;
    }
    lane.next = undefined;
    count--;
  }

  function grow(): void {
    const grown = newBuckets<Item>(2 * buckets.length);
    for (let lane of buckets) {
      while (lane !== undefined) {
        const { next }: Lane<Item> = lane;
        const at = lane.hash & (grown.length - 1);
        lane.next = grown[at];
        grown[at] = lane;
        lane = next;
      }
    }
    buckets = grown;
  }

  return { add, remove };
}

function newBuckets<Item>(count: number): (Lane<Item> | undefined)[] {
  return Array.from({ length: count }, () => undefined);
}

/** From characters spread over the key, its last one included (FNV-1a). */
function hashOf(key: string): number {
  const step = 1 + Math.floor(key.length / SAMPLES);
  let hash = 0x811c9dc5 ^ key.length;
  for (let at = key.length - 1; at >= 0; at -= step) {
    hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  }
  return hash ^ (hash >>> 15);
}
