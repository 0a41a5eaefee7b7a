/**
 * The settings of the notification service and how they relate: plain values, cloneable.
 *
 * Refuses numbers that contradict each other, and SMTP for anything but e-mail, when the service
 * starts and not when the first customer waits.
 */

import type { RetryPolicy } from "../delivery/retry-schedule.ts";
import type { ChannelKind, NotifiedEvent } from "./notification.ts";

import { ShopError } from "../../runtime/errors.ts";
import { CHANNEL_KINDS } from "./notification.ts";

export type Provider = "outbox" | "smtp" | "off";

export interface ChannelPolicy {
  readonly provider: Provider;
  /** What customers are told about by this channel. */
  readonly events: readonly NotifiedEvent[];
  /** Attempts after which a notification is recorded as failed. */
  readonly attemptsMax: number;
  /** Wait after the first failed attempt; doubled after each, up to `delayMaxMs`. */
  readonly delayMinMs: number;
  readonly delayMaxMs: number;
  /** Longest one batch may take before what is left of it counts as failed. */
  readonly timeoutMs: number;
}

export interface SmtpSettings {
  readonly host: string;
  readonly port: number;
  /** Empty: without authentication. */
  readonly user: string;
  readonly password: string;
  /** Address that the messages come from. */
  readonly from: string;
  /** `starttls` and `tls` verify the server's certificate and never fall back to plain text. */
  readonly tls: "none" | "starttls" | "tls";
  /** File of certificate authorities to trust instead of the system's, PEM; empty: none. */
  readonly caFile: string;
}

export interface OutboxSettings {
  /** A file that has reached this is rotated. */
  readonly fileBytesMax: number;
  /** Files kept of each channel and shard, the current one included. */
  readonly filesMax: number;
}

export interface NotificationSettings {
  readonly channels: Readonly<Record<ChannelKind, ChannelPolicy>>;
  readonly smtp: SmtpSettings;
  readonly outbox: OutboxSettings;
  /** How long an event of an order that is not known yet waits for `order.created`. */
  readonly contactWaitMs: number;
  /** An event older than this when it is first looked at is recorded as skipped: nobody waits. */
  readonly ageMaxMs: number;
}

/** Notifications that wait in memory for one remote channel of one shard. */
export const QUEUE_MAX = 1_024;
/** Notifications handed to a remote channel at one time. */
export const REMOTE_BATCH_MAX = 32;
/** What a channel gets on top of its timeout to give its results after it was told to stop. */
export const GRACE_MS = 250;
/** Waits between attempts are spread by this share of themselves. */
const JITTER = 0.2;
/** Length of a reason in the ledger, in characters. */
export const REASON_LENGTH_MAX = 200;

const SCHEDULE = { attemptsMax: 18, delayMinMs: 1_000, delayMaxMs: 300_000, timeoutMs: 10_000 };
const ON_THE_MOVE = ["order.shipped", "order.delivered", "order.cancelled"] as const;

export const NOTIFICATION_SETTINGS: NotificationSettings = {
  channels: {
    email: {
      ...SCHEDULE,
      provider: "outbox",
      events: [
        "order.created",
        "payment.failed",
        "order.shipped",
        "order.delivered",
        "order.cancelled",
        "payment.refunded",
      ],
    },
    sms: { ...SCHEDULE, provider: "outbox", events: ON_THE_MOVE },
    push: { ...SCHEDULE, provider: "outbox", events: ON_THE_MOVE },
  },
  smtp: {
    host: "127.0.0.1",
    port: 587,
    user: "",
    password: "",
    from: "",
    tls: "starttls",
    caFile: "",
  },
  outbox: { fileBytesMax: 16 * 1_024 * 1_024, filesMax: 4 },
  contactWaitMs: 60_000,
  ageMaxMs: 3_600_000,
};

export function retryPolicyOf(policy: ChannelPolicy): RetryPolicy {
  const { attemptsMax, delayMinMs, delayMaxMs } = policy;
  return { attemptsMax, delayMinMs, delayMaxMs, jitter: JITTER };
}

/**
 * When an attempt whose end was never recorded counts as lost: by then it was cut off, or its
 * process is gone.
 */
export function lostAfterMs(policy: ChannelPolicy): number {
  return 2 * policy.timeoutMs + GRACE_MS;
}

/** Throws `BAD_CONFIGURATION` naming the setting and what it may be. */
export function checkNotificationSettings(settings: NotificationSettings): void {
  for (const kind of CHANNEL_KINDS) {
    const { provider, delayMinMs, delayMaxMs } = settings.channels[kind];
    if (delayMinMs > delayMaxMs) {
      const allowed = `at most notification.${kind}.delayMaxMs, ${delayMaxMs}`;
      throw refused(`notification.${kind}.delayMinMs is ${delayMinMs}; allowed is ${allowed}`);
    }
    if (provider === "smtp" && kind !== "email") {
      throw refused(`notification.${kind}.provider is smtp; allowed is outbox or off`);
    }
  }
  const { from, user, password } = settings.smtp;
  if (settings.channels.email.provider !== "smtp") return;
  if (!/^[^\s@<>"]+@[^\s@<>"]+$/.test(from)) {
    throw refused("notification.smtp.from must be an e-mail address when e-mail goes by SMTP");
  }
  if ((user === "") !== (password === "")) {
    throw refused("notification.smtp.user and notification.smtp.password go together");
  }
}

function refused(message: string): ShopError {
  return new ShopError("BAD_CONFIGURATION", message, "never");
}
