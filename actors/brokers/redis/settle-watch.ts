/**
 * Waits for what only changes when something is settled or lost, without asking again and again.
 *
 * Whoever changes it says so. Refuses nothing; a wait that nobody ends is its owner's to give up.
 */

export class SettleWatch {
  #waiting: (() => void)[] = [];

  /** Resolves once `holds`, which is asked now and after every `changed`. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => void this.#waiting.push(resolve));
  }

  changed(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
