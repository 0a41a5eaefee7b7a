/**
 * Settings that contradict each other are refused, with their names and what is allowed. Those
 * that do not say which channels there are.
 */

import { describe, expect, test } from "bun:test";

import type { NotificationSettings } from "./notification-policy.ts";

import { openChannels } from "./open-channels.ts";
import { checkNotificationSettings, NOTIFICATION_SETTINGS } from "./notification-policy.ts";

const { channels, smtp } = NOTIFICATION_SETTINGS;
const byMail = { ...channels, email: { ...channels.email, provider: "smtp" } } as const;

describe("settings", () => {
  const rows: readonly [string, Partial<NotificationSettings>, string][] = [
    [
      "waits that shrink",
      { channels: { ...channels, sms: { ...channels.sms, delayMinMs: 10, delayMaxMs: 5 } } },
      "notification.sms.delayMinMs is 10; allowed is at most notification.sms.delayMaxMs, 5",
    ],
    [
      "SMS by SMTP",
      { channels: { ...channels, sms: { ...channels.sms, provider: "smtp" } } },
      "notification.sms.provider is smtp; allowed is outbox or off",
    ],
    ["SMTP without a sender", { channels: byMail }, "notification.smtp.from must be an e-mail"],
    [
      "SMTP from two senders",
      { channels: byMail, smtp: { ...smtp, from: "a@b.test,c@d.test" } },
      "notification.smtp.from must be an e-mail",
    ],
    [
      "a login without a password",
      { channels: byMail, smtp: { ...smtp, from: "shop@example.com", user: "shop" } },
      "notification.smtp.user and notification.smtp.password go together",
    ],
  ];
  for (const [what, changes, message] of rows) {
    test(`with ${what} are refused`, () => {
      const check = () => checkNotificationSettings({ ...NOTIFICATION_SETTINGS, ...changes });
      expect(check).toThrow(message);
      expect(check).toThrow(expect.objectContaining({ code: "BAD_CONFIGURATION" }));
    });
  }

  test("decide which channels there are", () => {
    const off = { ...channels.push, provider: "off" } as const;
    const settings = {
      ...NOTIFICATION_SETTINGS,
      channels: { ...byMail, push: off },
      smtp: { ...smtp, from: "shop@example.com" },
    };
    const opened = openChannels({ settings, dataDirectory: "unused", shard: 0 });
    expect(opened.map(({ name, kind, reach }) => `${name} ${kind} ${reach}`)).toEqual([
      "smtp email remote",
      "outbox sms local",
    ]);
  });
});
