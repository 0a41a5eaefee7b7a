/**
 * Settings of the notification service: what is told by which channel, how often it is tried, and
 * the mail server.
 *
 * Bounds and defaults are here; what must fit together (`from` with SMTP, the shorter wait before
 * the longer) is refused by the service at the start.
 */

import type { Static } from "@sinclair/typebox";
import { Type } from "@sinclair/typebox";

import type {
  ChannelPolicy,
  NotificationSettings,
} from "../../actors/notification/notification-policy.ts";
import { NOTIFIED_EVENTS } from "../../actors/notification/notification.ts";
import { NOTIFICATION_SETTINGS } from "../../actors/notification/notification-policy.ts";
import type { Frozen } from "./setting-types.ts";
import {
  group,
  HOUR_MS,
  integer,
  KIB,
  GIB,
  MINUTE_MS,
  oneOf,
  SECOND_MS,
  text,
} from "./setting-types.ts";

const { channels, smtp, outbox, contactWaitMs, ageMaxMs } = NOTIFICATION_SETTINGS;

function channelGroup<const Names extends readonly string[]>(
  initial: ChannelPolicy,
  providers: Names,
  first: Names[number],
) {
  const { attemptsMax, delayMinMs, delayMaxMs, timeoutMs } = initial;
  return group({
    provider: oneOf(providers, first, "who brings the messages; outbox: a file"),
    events: Type.Array(Type.Union(NOTIFIED_EVENTS.map((name) => Type.Literal(name))), {
      uniqueItems: true,
      default: [...initial.events],
      description: "what customers are told about by this channel",
    }),
    attemptsMax: integer(1, 100, attemptsMax, "attempts before a message is given up"),
    delayMinMs: integer(10, HOUR_MS, delayMinMs, "wait after the first failed attempt; doubles"),
    delayMaxMs: integer(10, 24 * HOUR_MS, delayMaxMs, "longest wait between two attempts"),
    timeoutMs: integer(10, 5 * MINUTE_MS, timeoutMs, "longest time for one batch of messages"),
  });
}

function optionalText(description: string) {
  return Type.String({ maxLength: 1024, default: "", description });
}

export const NotificationGroup = group({
  email: channelGroup(channels.email, ["outbox", "smtp", "off"], "outbox"),
  sms: channelGroup(channels.sms, ["outbox", "off"], "outbox"),
  push: channelGroup(channels.push, ["outbox", "off"], "outbox"),
  contactWaitMs: integer(0, 24 * HOUR_MS, contactWaitMs, "wait for the contact of an order"),
  ageMaxMs: integer(SECOND_MS, 720 * HOUR_MS, ageMaxMs, "age beyond which nobody is told"),
  smtp: group({
    host: text(smtp.host, "mail server"),
    port: integer(1, 65_535, smtp.port, "port of the mail server"),
    user: optionalText("login at the mail server; empty: none"),
    password: Type.String({
      maxLength: 1024,
      default: "",
      description: "password at the mail server",
      secret: true,
    }),
    from: optionalText("address that messages come from; needed with SMTP"),
    tls: oneOf(["none", "starttls", "tls"], smtp.tls, "how the connection is encrypted"),
    caFile: optionalText("PEM file of authorities to trust; empty: those of the system"),
  }),
  outbox: group({
    fileBytesMax: integer(64 * KIB, GIB, outbox.fileBytesMax, "size at which a file is rotated"),
    filesMax: integer(1, 1000, outbox.filesMax, "files kept of each channel and shard"),
  }),
});

/** The settings as the service takes them. */
export function notificationSettings(
  config: Frozen<Static<typeof NotificationGroup>>,
): NotificationSettings {
  const { email, sms, push, ...others } = config;
  return { channels: { email, sms, push }, ...others };
}
