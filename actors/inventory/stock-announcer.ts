/**
 * Tells the other processes that stock has changed, for whoever changes it.
 *
 * Products of one turn go together. What cannot be told is told again until it can, up to a bound;
 * beyond that the oldest is left to the age of what others remember, and said. Refuses nothing.
 */

import type { Environment, Timer } from "../../runtime/environment.ts";
import type { StockMemory } from "./redis-stock-changes.ts";

const BATCH_MAX = 500;
const OWED_MAX = 10_000;
const RETRY_MS = 250;

export interface StockAnnouncerOptions {
  readonly environment: Environment;
  readonly memory: Pick<StockMemory, "changed">;
  readonly onDropped?: (productId: string) => void;
}

export interface StockAnnouncer {
  /** After the commit. */
  changed(productId: string): void;
  /** Products of which others have not been told yet. */
  isOwed(productId: string): boolean;
  close(): void;
}

export function createStockAnnouncer(options: StockAnnouncerOptions): StockAnnouncer {
  const { environment, memory, onDropped } = options;
  /** Oldest first. */
  const owed = new Set<string>();
  /** Told and not answered. */
  let telling: ReadonlySet<string> = new Set();
  let timer: Timer | undefined;
  let isDue = false;
  let isClosed = false;

  function changed(productId: string): void {
    if (isClosed) return;
    owed.delete(productId);
    owed.add(productId);
    for (const oldest of owed) {
      if (owed.size <= OWED_MAX) break;
      owed.delete(oldest);
      onDropped?.(oldest);
    }
    soon();
  }

  function soon(): void {
    if (isDue || telling.size > 0 || timer !== undefined) return;
    isDue = true;
    environment.defer(() => void tell());
  }

  /** Does not reject: what fails is told again. */
  async function tell(): Promise<void> {
    isDue = false;
    timer = undefined;
    telling = new Set([...owed].slice(0, BATCH_MAX));
    if (isClosed || telling.size === 0) return;
    for (const productId of telling) owed.delete(productId);
    try {
      await memory.changed([...telling]);
      telling = new Set();
      if (owed.size > 0) soon();
    } catch {
      for (const productId of telling) owed.add(productId);
      telling = new Set();
      if (!isClosed) timer = environment.startTimer(RETRY_MS, () => void tell());
    }
  }

  return {
    changed,
    isOwed: (productId) => owed.has(productId) || telling.has(productId),
    close() {
      isClosed = true;
      timer?.cancel();
      owed.clear();
    },
  };
}
