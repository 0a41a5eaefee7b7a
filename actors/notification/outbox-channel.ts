/**
 * The embedded channel: texts as JSON lines in a file, for a relay, a test or a person to read.
 *
 * One file for each kind and shard under the outbox directory, a write for each batch, rotated at
 * a bound. An id that is in the tail of any file of its kind is not written again, so what a
 * crashed process, or the shard that had an order before, had written before its commit does not
 * appear twice: the tails are read with the first batch, and again with the next one after orders
 * were taken over. Files of other machines are not there to be read. Lines are not synced: the
 * ledger is the record, this is the post. A torn last line is cut off when the file is opened.
 */

import type { Channel, SendResult } from "./channel.ts";
import type { ChannelKind, Notification } from "./notification.ts";
import type { OutboxSettings } from "./notification-policy.ts";
import type { OutboxFile } from "./outbox-file.ts";

import { describeError } from "../../runtime/errors.ts";
import { failedSend, SENT } from "./channel.ts";
import { openOutboxFile, readWrittenIds, tailsIn } from "./outbox-file.ts";

/**
 * Ids remembered as written, at least: what every shard, of up to thirty-two, can have left
 * uncommitted. Up to twice as many are.
 */
const IDS_MIN = 8_192;

export interface OutboxChannelOptions {
  readonly kind: ChannelKind;
  /** Made when it is not there. */
  readonly directory: string;
  /** Each shard writes files of its own. */
  readonly shard: number;
  readonly settings: OutboxSettings;
  /** For the log, after the write, with all that is in it. Must not throw. */
  readonly onWritten?: (written: readonly Notification[]) => void;
}

/** The file is opened, and its directory read, with the first batch. */
export function createOutboxChannel(options: OutboxChannelOptions): Channel {
  const { kind, directory, shard, settings } = options;
  // Two generations, of which the older is forgotten whole: dropping ids one by one is dear.
  let written = new Set<string>();
  let writtenBefore = new Set<string>();
  let file: OutboxFile | undefined;
  let hasReadTails = false;
  let tail: Promise<unknown> = Promise.resolve();

  function open(): Promise<OutboxFile> {
    hasReadTails = false;
    return openOutboxFile(directory, `${kind}-${shard}`, settings);
  }

  async function readTails(): Promise<void> {
    // What is taken over while they are read is looked for again.
    hasReadTails = true;
    const tails = tailsIn(directory);
    for (const id of await readWrittenIds(tails, `${kind}-`, settings.filesMax)) remember(id);
  }

  function remember(id: string): void {
    if (written.size >= IDS_MIN) {
      writtenBefore = written;
      written = new Set();
    }
    written.add(id);
  }

  function isWritten(id: string): boolean {
    return written.has(id) || writtenBefore.has(id);
  }

  async function write(batch: readonly Notification[]): Promise<readonly SendResult[]> {
    try {
      file ??= await open();
      if (!hasReadTails) await readTails();
      const fresh = batch.filter(({ id }) => !isWritten(id));
      if (fresh.length > 0) {
        await file.append(linesOf(fresh));
        for (const { id } of fresh) remember(id);
        options.onWritten?.(fresh);
      }
      return batch.map(() => SENT);
    } catch (error) {
      const broken = file;
      // What was written of it shows when the file is opened again.
      file = undefined;
      await broken?.close().catch(() => {}); // it is of no use either way
      const failed = failedSend(describeError(error));
      return batch.map(() => failed);
    }
  }

  /** One write at a time, also when the caller has given up on an earlier one. */
  function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = tail.then(work, work);
    tail = done;
    return done;
  }

  return {
    name: "outbox",
    kind,
    reach: "local",
    knowsCustomers: true,
    send: (batch) => inTurn(() => write(batch)),
    takeOver: () => void (hasReadTails = false),
    close: () =>
      inTurn(async () => {
        await file?.close();
        file = undefined;
      }),
  };
}

/** Those of one batch were mostly made in one moment, which is written out once. */
function linesOf(batch: readonly Notification[]): string {
  let lines = "";
  let atMs = Number.NaN;
  let at = "";
  for (const notification of batch) {
    if (notification.atMs !== atMs) {
      ({ atMs } = notification);
      at = new Date(atMs).toISOString();
    }
    lines += lineOf(notification, at);
  }
  return lines;
}

/** `id` comes first: it is what `readWrittenIds` looks for. */
function lineOf(notification: Notification, at: string): string {
  const { id, event, orderId, to, language, subject, text } = notification;
  const line =
    subject === ""
      ? { id, at, event, orderId, to, language, text }
      : { id, at, event, orderId, to, language, subject, text };
  return `${JSON.stringify(line)}\n`;
}
