/**
 * One queue per key: only the head of a lane may be worked on, the others wait behind it.
 *
 * Holds no clock and makes no decision. Its size is bounded from outside, by the credit of the
 * subscription; a lane without items is forgotten.
 */

import { assert } from "../../runtime/errors.ts";

export interface Lanes<Item> {
  /** True when `item` is now the head of its lane. */
  add(item: Item): boolean;
  /** Takes `item` out wherever it stands. Answers the item that became head through that. */
  remove(item: Item): Item | undefined;
}

export function createLanes<Item extends { readonly lane: string }>(): Lanes<Item> {
  const lanes = new Map<string, Item[]>();

  function add(item: Item): boolean {
    const lane = lanes.get(item.lane);
    if (lane === undefined) {
      lanes.set(item.lane, [item]);
      return true;
    }
    lane.push(item);
    return false;
  }

  function remove(item: Item): Item | undefined {
    const lane = lanes.get(item.lane);
    const at = lane === undefined ? -1 : lane.indexOf(item);
    assert(lane !== undefined && at >= 0, "an item left its lane twice");
    lane.splice(at, 1);
    if (lane.length === 0) lanes.delete(item.lane);
    return at === 0 ? lane[0] : undefined;
  }

  return { add, remove };
}
