/**
 * What becomes of a failure after which a shard is of no use: it ends the thread.
 *
 * In a turn of its own, because whoever tells of it must not be able to catch it. A shard that is
 * stopping and hears that it is fenced goes on stopping: it commits nothing more as it is, and of a
 * group that it did not leave the others would wait for its session to end.
 */

import type { Environment } from "../runtime/environment.ts";

import { describeError, isShopError } from "../runtime/errors.ts";

export interface ShardFailures {
  onFailure(error: unknown): void;
  /** From here on the shard is stopping. */
  stopping(): void;
}

export function createShardFailures(
  environment: Pick<Environment, "defer">,
  onLog: (level: "warning", text: string) => void,
): ShardFailures {
  let isStopping = false;
  return {
    onFailure(error) {
      if (isStopping && isShopError(error, "FENCED")) {
        onLog("warning", `fenced while it stops: ${describeError(error)}`);
        return;
      }
      environment.defer(() => {
        throw error;
      });
    },
    stopping: () => void (isStopping = true),
  };
}
