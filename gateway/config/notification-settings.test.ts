/**
 * The notification settings of the configuration: complete, bounded, and the service's own
 * defaults. What the schema lets through is refused by the service where it contradicts itself.
 */

import { describe, expect, test } from "bun:test";

import { Value } from "@sinclair/typebox/value";

import { NOTIFICATION_SETTINGS } from "../../actors/notification/notification-policy.ts";
import { NotificationGroup, notificationSettings } from "./notification-settings.ts";

const DEFAULTS = Value.Create(NotificationGroup);

describe("the notification settings", () => {
  test("are the service's own when nothing is said", () => {
    expect(notificationSettings(DEFAULTS)).toEqual(NOTIFICATION_SETTINGS);
    expect(Value.Check(NotificationGroup, DEFAULTS)).toBe(true);
  });

  const refused = [
    ["SMS by SMTP", { sms: { ...DEFAULTS.sms, provider: "smtp" } }],
    ["an event that there is not", { email: { ...DEFAULTS.email, events: ["order.lost"] } }],
    ["an event twice", { push: { ...DEFAULTS.push, events: ["order.shipped", "order.shipped"] } }],
    ["no attempts", { email: { ...DEFAULTS.email, attemptsMax: 0 } }],
    ["a channel nobody knows", { fax: DEFAULTS.sms }],
  ] as const;
  for (const [what, changes] of refused) {
    test(`refuse ${what}`, () => {
      expect(Value.Check(NotificationGroup, { ...DEFAULTS, ...changes })).toBe(false);
    });
  }
});
