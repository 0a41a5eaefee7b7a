/**
 * E-mail by SMTP, over a bounded pool of connections.
 *
 * The Message-ID is made of the notification's id, so a receiver that knows it can drop a repeat.
 * A recipient or message that the server refuses for good (5xx) is rejected; everything else, a
 * refused login or certificate included, may get better and has only failed. Addresses go out as
 * they are, never parsed as lists, and nothing is read from files or fetched for a message.
 */

import { readFileSync } from "node:fs";

import { createTransport } from "nodemailer";

import type { Channel, SendResult } from "./channel.ts";
import type { Notification } from "./notification.ts";
import type { SmtpSettings } from "./notification-policy.ts";

import { describeError, ShopError } from "../../runtime/errors.ts";
import { failedSend, SENT } from "./channel.ts";
import { REASON_LENGTH_MAX } from "./notification-policy.ts";
import { htmlOf } from "./templates.ts";

const CONNECTIONS_MAX = 4;
/** Messages after which a connection is replaced by a new one. */
const MESSAGES_PER_CONNECTION_MAX = 100;
/** Steps in which the server judges this recipient and message, and not us. */
const JUDGED = ["EENVELOPE", "EMESSAGE"];
/** Replies that ask for a login, or find it wanting: ours to mend, not the recipient's. */
const LOGIN_REPLIES = [530, 534, 535, 538];
/** One address and nothing that a mail server or library could read as more. */
const ADDRESS = /^[^\s@<>"(),:;[\]\\]+@[^\s@<>"(),:;[\]\\]+$/;
const RECIPIENT = "[recipient]";
const NO_ADDRESS: SendResult = { kind: "rejected", error: "not an e-mail address" };
const NOT_REACHED = "the channel's time was up before its turn";

export interface SmtpChannelOptions {
  readonly settings: SmtpSettings;
  /** Silence of the server after which a connection is given up. */
  readonly timeoutMs: number;
  /** An idle connection broke. For the log; must not throw. */
  readonly onWarning?: (detail: string) => void;
}

/** Throws `BAD_CONFIGURATION`; connects with the first message. */
export function createSmtpChannel(options: SmtpChannelOptions): Channel {
  const { settings, timeoutMs } = options;
  const domain = settings.from.slice(settings.from.lastIndexOf("@") + 1);
  const transport = openTransport(settings, timeoutMs);
  transport.on("error", (error) => options.onWarning?.(`smtp: ${describeError(error)}`));

  async function sendOne(notification: Notification): Promise<SendResult> {
    if (!ADDRESS.test(notification.to)) return NO_ADDRESS;
    try {
      await transport.sendMail(mailOf(notification, settings.from, domain));
      return SENT;
    } catch (error) {
      // Servers like to repeat the address, and the ledger is shown to whoever may read the order.
      const text = withoutText(describeError(error), notification.to, RECIPIENT);
      if (!isRejection(error)) return failedSend(text);
      return { kind: "rejected", error: text.slice(0, REASON_LENGTH_MAX) };
    }
  }

  /** As many at a time as there are connections: what has not begun can still be held back. */
  async function send(
    batch: readonly Notification[],
    signal: AbortSignal,
  ): Promise<readonly SendResult[]> {
    const results: SendResult[] = batch.map(() => failedSend(NOT_REACHED));
    let next = 0;
    const stopped = Promise.withResolvers<void>();
    const stop = () => stopped.resolve();
    signal.addEventListener("abort", stop, { once: true });
    async function work(): Promise<void> {
      while (!signal.aborted) {
        const at = next++;
        const notification = batch[at];
        if (notification === undefined) return;
        results[at] = failedSend("the server had not answered when the time was up");
        results[at] = await sendOne(notification);
      }
    }
    const workers = Array.from({ length: Math.min(CONNECTIONS_MAX, batch.length) }, work);
    await Promise.race([Promise.all(workers), stopped.promise]);
    signal.removeEventListener("abort", stop);
    return [...results];
  }

  return {
    name: "smtp",
    kind: "email",
    reach: "remote",
    knowsCustomers: false,
    send,
    async close() {
      transport.close();
    },
  };
}

function openTransport(settings: SmtpSettings, timeoutMs: number) {
  const { host, port, user, password, tls, caFile } = settings;
  return createTransport({
    pool: true,
    host,
    port,
    secure: tls === "tls",
    requireTLS: tls === "starttls",
    ignoreTLS: tls === "none",
    tls: { minVersion: "TLSv1.2", ...(caFile === "" ? {} : { ca: readAuthorities(caFile) }) },
    ...(user === "" ? {} : { auth: { user, pass: password } }),
    maxConnections: CONNECTIONS_MAX,
    maxMessages: MESSAGES_PER_CONNECTION_MAX,
    // Whether to try again is decided above this channel, and remembered there.
    maxRequeues: 0,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    dnsTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
}

function readAuthorities(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const message = `notification.smtp.caFile cannot be read: ${describeError(error)}`;
    throw new ShopError("BAD_CONFIGURATION", message, "never", { cause: error });
  }
}

function mailOf(notification: Notification, from: string, domain: string) {
  const { id, to, subject, text, language, atMs } = notification;
  return {
    messageId: messageIdOf(id, domain),
    date: new Date(atMs),
    from: { name: "", address: from },
    to: { name: "", address: to },
    envelope: { from, to: [to] },
    subject,
    text,
    html: htmlOf(text, language),
    headers: { "Auto-Submitted": "auto-generated", "Content-Language": language },
  };
}

/** `text` with `instead` wherever it says `unwanted`, in whatever case. */
function withoutText(text: string, unwanted: string, instead: string): string {
  return text.replace(new RegExp(RegExp.escape(unwanted), "gi"), () => instead);
}

/** Ids may hold characters that a Message-ID may not; their digest does not. */
export function messageIdOf(id: string, domain: string): string {
  const digest = new Bun.CryptoHasher("sha256").update(id).digest("hex").slice(0, 32);
  return `<${digest}@${domain}>`;
}

function isRejection(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const step: unknown = Reflect.get(error, "code");
  const reply: unknown = Reflect.get(error, "responseCode");
  if (!JUDGED.some((code) => code === step)) return false;
  // Without a reply the address was refused before the server was asked.
  if (typeof reply !== "number") return step === "EENVELOPE";
  return reply >= 500 && !LOGIN_REPLIES.includes(reply);
}
