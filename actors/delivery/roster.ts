/**
 * A list in order of arrival, from whose middle things drop out.
 *
 * What has dropped out is passed over and cleared away in bulk. A `Set` would do, but its tables
 * are replaced as it churns, each holding on to the next: one that a collection of garbage has
 * promoted keeps alive everything that ever came after it, and collections take ten times as long.
 * Refuses nothing; who adds a thing twice finds it twice.
 */

/** Below this many places a list is not worth clearing. */
const CLEAR_MIN = 32;

export class Roster<Item> {
  readonly #isIn: (item: Item) => boolean;
  #items: (Item | undefined)[] = [];
  /** Places before it are empty. */
  #head = 0;
  /** Things from there on that have dropped out. */
  #gone = 0;

  /** `isIn` tells whether a thing has not dropped out since it was added. */
  constructor(isIn: (item: Item) => boolean) {
    this.#isIn = isIn;
  }

  add(item: Item): void {
    const empty = this.#head + this.#gone;
    if (empty > CLEAR_MIN && 2 * empty > this.#items.length) this.#clear();
    this.#items.push(item);
  }

  /** To be told of each thing that drops out. */
  droppedOut(): void {
    this.#gone++;
    this.#forgetIfEmpty();
  }

  /** The first thing; it stays. */
  first(): Item | undefined {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at];
      if (item !== undefined && this.#isIn(item)) return item;
    }
    return undefined;
  }

  /** The first thing; it is taken. */
  take(): Item | undefined {
    while (this.#head < this.#items.length) {
      const item = this.#items[this.#head];
      this.#items[this.#head++] = undefined;
      const isIn = item !== undefined && this.#isIn(item);
      if (!isIn) this.#gone--;
      this.#forgetIfEmpty();
      if (isIn) return item;
    }
    return undefined;
  }

  /** Things may drop out meanwhile, but none may be added. */
  *[Symbol.iterator](): Generator<Item> {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at];
      if (item !== undefined && this.#isIn(item)) yield item;
    }
  }

  #clear(): void {
    this.#items = this.#items.filter((item) => item !== undefined && this.#isIn(item));
    this.#head = 0;
    this.#gone = 0;
  }

  #forgetIfEmpty(): void {
    if (this.#head + this.#gone < this.#items.length) return;
    this.#items.length = 0;
    this.#head = 0;
    this.#gone = 0;
  }
}
