/**
 * Hints between processes by LISTEN and NOTIFY: there may be a reply to this command.
 *
 * A notification may be lost with its connection, and nobody relies on one: who waits looks by
 * itself as well. The client library does not always listen again after a server was away, so who
 * listens sends himself a sign of life now and then, and begins anew when it does not come.
 * Telling never fails for the one who tells.
 */

import type { Sql } from "postgres";
import type { Environment, Timer } from "../../../runtime/environment.ts";

import type { ReplyHints } from "../../commands/command-replies.ts";

const CHANNEL = "shopstream_replies";
const SIGN_EVERY_MS = 5_000;

export interface ReplyHintsOptions {
  readonly environment: Environment;
  /** Listening keeps one more connection, of its own. */
  readonly sql: Sql;
  readonly signEveryMs?: number;
}

export function createReplyHints(options: ReplyHintsOptions): ReplyHints {
  const { environment, sql, signEveryMs = SIGN_EVERY_MS } = options;

  async function tell(messageId: string): Promise<void> {
    // One that is not told is found by whoever waits for it, who looks ten times a second.
    await Promise.allSettled([sql`SELECT pg_notify(${CHANNEL}, ${messageId})`]);
  }

  return {
    tell,
    async listen(onHint) {
      const sign = environment.newId();
      let isHeard = true;
      let timer: Timer | undefined;
      let stop: (() => Promise<void>) | undefined;
      let isStopped = false;

      async function begin(): Promise<void> {
        const { unlisten } = await sql.listen(CHANNEL, (payload) => {
          if (payload === sign) isHeard = true;
          else onHint(payload);
        });
        stop = unlisten;
        if (isStopped) await unlisten();
      }

      function watch(): void {
        timer = environment.startTimer(signEveryMs, () => {
          if (!isHeard) begin().catch(() => undefined); // the server is away: at the next sign
          isHeard = false;
          void tell(sign);
          if (!isStopped) watch();
        });
      }

      await begin();
      watch();
      return async () => {
        isStopped = true;
        timer?.cancel();
        await stop?.();
      };
    },
  };
}
