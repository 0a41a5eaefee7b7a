/**
 * The channels of one shard, as configured: outbox files, SMTP, or none.
 *
 * Translates settings, no more. What the settings must not say is refused before anything opens.
 */

import { join } from "node:path";

import type { Channel } from "./channel.ts";
import type { Notification } from "./notification.ts";
import type { NotificationSettings } from "./notification-policy.ts";

import { CHANNEL_KINDS } from "./notification.ts";
import { checkNotificationSettings } from "./notification-policy.ts";
import { createOutboxChannel } from "./outbox-channel.ts";
import { createSmtpChannel } from "./smtp-channel.ts";

export interface OpenChannelsOptions {
  readonly settings: NotificationSettings;
  /** Of the shop; the outbox is a directory in it. */
  readonly dataDirectory: string;
  readonly shard: number;
  readonly onLog?: (level: "debug" | "warning", text: string) => void;
}

/** Throws `BAD_CONFIGURATION`. Nothing is opened yet: each channel does that when it is used. */
export function openChannels(options: OpenChannelsOptions): readonly Channel[] {
  const { settings, dataDirectory, shard, onLog } = options;
  checkNotificationSettings(settings);
  return CHANNEL_KINDS.flatMap((kind) => {
    const { provider, timeoutMs } = settings.channels[kind];
    if (provider === "off") return [];
    if (provider === "smtp") {
      const onWarning = (detail: string) => onLog?.("warning", detail);
      return [createSmtpChannel({ settings: settings.smtp, timeoutMs, onWarning })];
    }
    const directory = join(dataDirectory, "outbox");
    const base = { kind, directory, shard, settings: settings.outbox };
    if (onLog === undefined) return [createOutboxChannel(base)];
    // A line for each write: a line for each notification would cost more than its sending.
    const onWritten = (written: readonly Notification[]) =>
      onLog("debug", `told ${written.map(({ id }) => id).join(", ")}`);
    return [createOutboxChannel({ ...base, onWritten })];
  });
}
