/**
 * A process whose files may not grow beyond a few lines, so that its appends fail half-way.
 *
 * Sends one batch to an outbox in the directory it is given until all of it is sent, a rotated file
 * at a time, and says on its output what became of each attempt. Gives up after a few.
 */

import { createOutboxChannel } from "./outbox-channel.ts";

const ATTEMPTS_MAX = 10;

const [, , directory = ""] = process.argv;
const channel = createOutboxChannel({
  kind: "email",
  directory,
  shard: 0,
  settings: { fileBytesMax: 1, filesMax: ATTEMPTS_MAX },
});
const batch = Array.from({ length: 40 }, (_, at) => ({
  id: `o${at}/order.created/email`,
  orderId: `o${at}`,
  event: "order.created" as const,
  channel: "email" as const,
  language: "en" as const,
  to: "ada@example.com",
  subject: "Hi",
  text: "Hello",
  atMs: 1_700_000_000_000,
}));

for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
  const results = await channel.send(batch, new AbortController().signal);
  const isSent = results.every(({ kind }) => kind === "sent");
  console.log(isSent ? "sent" : "failed");
  if (isSent) break;
}
await channel.close();
