/**
 * What a confirm channel was given and has not answered, by the number that the server counts.
 *
 * The server counts from 1 what comes on a channel, and answers one by one or all up to a number,
 * in any order. Items keep their place until all before them are answered. So one that is never
 * answered, as of a queue without a majority, has the places of all later ones kept until the
 * channel ends, a few bytes for each; the client library's own list of what is unconfirmed grows
 * likewise. It refuses nothing: an answer for what is not there, or is answered already, changes
 * nothing.
 */

/** Places of answered items at the front above which they are given back. */
const PASSED_PLACES_MAX = 1_024;

export class SentWindow<Item> {
  readonly #items: (Item | undefined)[] = [];
  /** Items before it are answered. */
  #head = 0;
  /** The number of the item in the first place. */
  #first = 1;
  #size = 0;

  /** Items without an answer. */
  get size(): number {
    return this.#size;
  }

  /** Of open items, and of answered ones that are not given back yet. */
  get places(): number {
    return this.#items.length;
  }

  /** Its number is the next. */
  add(item: Item): void {
    this.#items.push(item);
    this.#size++;
  }

  find(number: number): Item | undefined {
    return this.#items[number - this.#first];
  }

  /** Takes out `number`, or all up to it, and calls `each` with them in their order. */
  answer(number: number, isAllUpTo: boolean, each: (item: Item) => void): void {
    const items = this.#items;
    const last = number - this.#first;
    const end = Math.min(last + 1, items.length);
    for (let at = isAllUpTo ? this.#head : last; at < end; at++) {
      const item = items[at];
      if (item === undefined) continue;
      items[at] = undefined;
      this.#size--;
      each(item);
    }
    this.#dropAnswered();
  }

  /** For the next channel. */
  clear(): void {
    this.#items.length = 0;
    this.#head = 0;
    this.#first = 1;
    this.#size = 0;
  }

  #dropAnswered(): void {
    const items = this.#items;
    while (this.#head < items.length && items[this.#head] === undefined) this.#head++;
    if (this.#head < items.length && this.#head <= PASSED_PLACES_MAX) return;
    items.splice(0, this.#head);
    this.#first += this.#head;
    this.#head = 0;
  }
}
