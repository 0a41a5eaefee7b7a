/**
 * Templates: every text there is, what is refused at the start, languages, amounts, hostile values.
 */

import { describe, expect, test } from "bun:test";

import type { Facts } from "./notification.ts";
import type { LanguageTemplates } from "./templates.ts";

import { formatAmount } from "./amount-text.ts";
import { CHANNEL_KINDS, NOTIFIED_EVENTS } from "./notification.ts";
import { compileTemplates, htmlOf } from "./templates.ts";
import { GERMAN } from "./templates-de.ts";
import { ENGLISH } from "./templates-en.ts";
import { FRENCH } from "./templates-fr.ts";

const LANGUAGES = [ENGLISH, GERMAN, FRENCH];
const templates = compileTemplates(LANGUAGES);
const FACTS: Facts = {
  amountMinor: 123_450,
  currency: "EUR",
  trackingNumber: "SS1",
  carrier: "Post",
  cancelReason: "out_of_stock",
};
const ORDER_ID = "0198c0de-0000-7000-8000-000000000001";
const created = { orderId: ORDER_ID, event: "order.created", channel: "email" } as const;

/** English with another confirmation by e-mail. */
function englishWith(subject: string, text: string): LanguageTemplates {
  const events = {
    ...ENGLISH.events,
    "order.created": { ...ENGLISH.events["order.created"], email: { subject, text } },
  };
  return { ...ENGLISH, events };
}

describe("every text", () => {
  for (const { language } of LANGUAGES) {
    for (const event of NOTIFIED_EVENTS) {
      for (const channel of CHANNEL_KINDS) {
        test(`${language}, ${event} by ${channel}, is filled in and fits its channel`, () => {
          const request = { orderId: ORDER_ID, event, channel, language, facts: FACTS };
          const rendered = templates.render(request);
          expect(rendered.language).toBe(language);
          expect(rendered.subject + rendered.text).not.toMatch(/[{}]|undefined|NaN/);
          expect(rendered.subject === "").toBe(channel === "sms");
          expect(rendered.text.length).toBeGreaterThan(10);
          if (channel === "sms") expect(rendered.text.length).toBeLessThanOrEqual(160);
          if (channel === "email") expect(rendered.subject).toContain(ORDER_ID);
        });
      }
    }
  }
});

test("of a payment that failed nobody claims that no money moved: it may, and come back", () => {
  for (const { language } of LANGUAGES) {
    const request = { orderId: ORDER_ID, event: "payment.failed", channel: "email" } as const;
    const { text } = templates.render({ ...request, language, facts: FACTS });
    expect(text).not.toMatch(/nothing was|es wurde nichts|rien n.a été/i);
  }
});

describe("the language", () => {
  const rows = [
    ["de", "de", "1.234,50 €"],
    ["de-AT", "de", "€ 1.234,50"],
    ["fr-CH", "fr", "1 234.50 €"],
    ["en-GB", "en", "€1,234.50"],
    ["pt-BR", "en", "€1,234.50"],
    ["xx", "en", "€1,234.50"],
    [undefined, "en", "€1,234.50"],
  ] as const;
  for (const [tag, language, amountText] of rows) {
    test(`asked for as ${tag ?? "nothing"} is ${language}`, () => {
      const rendered = templates.render({ ...created, language: tag, facts: FACTS });
      expect(rendered.language).toBe(language);
      const figures = (text: string) => text.replace(/[^\d.,]/gu, "");
      expect(figures(rendered.text)).toContain(figures(amountText));
    });
  }
});

describe("an amount", () => {
  const rows = [
    ["en", 1_990, "USD", "$19.90"],
    ["en", 100_000, "JPY", "¥1,000"],
    ["en", 100_050, "JPY", "¥1,000.50"],
    ["en", 100_050, "BHD", "BHD 1,000.50"],
    ["en", 500, "XQZ", "XQZ 5.00"],
    ["en", 100_000_000_000, "USD", "$1,000,000,000.00"],
    ["de", 0, "EUR", "0,00 €"],
  ] as const;
  for (const [locale, amountMinor, currency, expected] of rows) {
    test(`of ${amountMinor} hundredths of ${currency} is ${expected}`, () => {
      expect(formatAmount(locale, amountMinor, currency).replace(/\s/gu, " ")).toBe(expected);
    });
  }
});

describe("refused at the start", () => {
  const rows = [
    ["a placeholder that nobody knows", "s", "Hi {name}", "names {name}; allowed are orderId"],
    ["one that the event cannot fill", "{trackingNumber}", "t", "subject names {trackingNumber}"],
    ["an open brace", "s", "Hi {orderId", "brace without its other half"],
    ["an empty text", "s", "", "en/order.created/email is empty"],
    ["a missing subject", "", "t", "have a subject"],
  ] as const;
  for (const [what, subject, text, message] of rows) {
    test(what, () => {
      const compile = () => compileTemplates([englishWith(subject, text)]);
      expect(compile).toThrow(message);
      expect(compile).toThrow(expect.objectContaining({ code: "BAD_CONFIGURATION" }));
    });
  }

  test("templates without the language of last resort", () => {
    expect(() => compileTemplates([GERMAN])).toThrow("no templates for en");
  });
});

describe("hostile values", () => {
  test("cannot begin a new line or header", () => {
    const orderId = "o1\r\nBcc: eve@example.com\u0000";
    const { subject } = templates.render({ ...created, orderId, language: "en", facts: FACTS });
    expect(subject).toBe("Your order o1 Bcc: eve@example.com ");
  });

  test("are text in HTML, and braces in them are no placeholders", () => {
    const orderId = `<b onclick="x('&')">{amount}`;
    const { text } = templates.render({ ...created, orderId, language: "en", facts: FACTS });
    expect(text).toContain("{amount}");
    const html = htmlOf(text, "en");
    expect(html).not.toContain("<b ");
    expect(html).toContain("&#60;b onclick=&#34;x(&#39;&#38;&#39;)&#34;&#62;");
    expect(html).toStartWith('<!doctype html><html lang="en">');
  });
});
