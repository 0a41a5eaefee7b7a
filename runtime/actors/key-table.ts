/**
 * Things by their key, for tables whose contents never stop changing.
 *
 * A `Map` would do, but it replaces its tables as it churns, each holding on to the next: one that
 * a collection of garbage has promoted keeps alive everything that ever came after it. Here the
 * things themselves are the links of short chains. Refuses a second thing of the same key.
 */

import { assert } from "../errors.ts";

const BUCKETS_MIN = 64;

/** A thing is in one table at a time. */
export interface Keyed<Self> {
  readonly key: string;
  /** The table's own. */
  nextOfBucket: Self | undefined;
}

export class KeyTable<Item extends Keyed<Item>> {
  /** Read-only outside. */
  itemCount = 0;
  private buckets: (Item | undefined)[] = emptyBuckets(BUCKETS_MIN);

  get(key: string): Item | undefined {
    let item = this.buckets[this.bucketOf(key)];
    while (item !== undefined && item.key !== key) item = item.nextOfBucket;
    return item;
  }

  add(item: Item): void {
    assert(this.get(item.key) === undefined, "a key is in the table once");
    if (this.itemCount >= this.buckets.length) this.grow();
    this.link(item);
    this.itemCount++;
  }

  /** False when `item` is not there. */
  remove(item: Item): boolean {
    const at = this.bucketOf(item.key);
    let before: Item | undefined;
    for (let here = this.buckets[at]; here !== undefined; here = here.nextOfBucket) {
      if (here === item) {
        if (before === undefined) this.buckets[at] = item.nextOfBucket;
        else before.nextOfBucket = item.nextOfBucket;
        item.nextOfBucket = undefined;
        this.itemCount--;
        return true;
      }
      before = here;
    }
    return false;
  }

  /** Everything, in no order. */
  values(): Item[] {
    const items: Item[] = [];
    for (let item of this.buckets) {
      for (; item !== undefined; item = item.nextOfBucket) items.push(item);
    }
    return items;
  }

  clear(): void {
    for (const item of this.values()) item.nextOfBucket = undefined;
    this.buckets = emptyBuckets(BUCKETS_MIN);
    this.itemCount = 0;
  }

  private link(item: Item): void {
    const at = this.bucketOf(item.key);
    item.nextOfBucket = this.buckets[at];
    this.buckets[at] = item;
  }

  private grow(): void {
    const items = this.values();
    this.buckets = emptyBuckets(2 * this.buckets.length);
    for (const item of items) this.link(item);
  }

  private bucketOf(key: string): number {
    return Bun.hash.xxHash32(key) & (this.buckets.length - 1);
  }
}

function emptyBuckets<Item>(count: number): (Item | undefined)[] {
  return Array.from({ length: count }, () => undefined);
}
