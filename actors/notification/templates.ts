/**
 * Texts for customers: templates per language, event and channel, and how they are filled in.
 *
 * Templates are data with `{name}` placeholders. A placeholder that its event cannot fill, an
 * unbalanced brace or an empty text is refused when they are compiled, which is at the start.
 * Values lose their control characters, so that none of them can begin a new header or line.
 */

import type { CancelReason } from "../contracts/messages.ts";
import type { ChannelKind, Facts, NotifiedEvent } from "./notification.ts";

import { assert, ShopError } from "../../runtime/errors.ts";
import { formatAmount } from "./amount-text.ts";
import { CHANNEL_KINDS, NOTIFIED_EVENTS } from "./notification.ts";

export type Placeholder = "orderId" | "amount" | "trackingNumber" | "carrier" | "reason";

export interface TemplateText {
  /** Title of an e-mail or push message; SMS has none. */
  readonly subject?: string;
  /** A list is paragraphs. */
  readonly text: string | readonly string[];
}

/** The texts of one language. */
export interface LanguageTemplates {
  /** BCP 47, the language alone. */
  readonly language: string;
  readonly events: Readonly<Record<NotifiedEvent, Readonly<Record<ChannelKind, TemplateText>>>>;
  /** Why an order was cancelled, as a sentence. */
  readonly reasons: Readonly<Record<CancelReason, string>>;
}

/** What each event can fill in. */
export const PLACEHOLDERS: Readonly<Record<NotifiedEvent, readonly Placeholder[]>> = {
  "order.created": ["orderId", "amount"],
  "payment.failed": ["orderId", "amount"],
  "order.shipped": ["orderId", "trackingNumber", "carrier"],
  "order.delivered": ["orderId", "trackingNumber"],
  "order.cancelled": ["orderId", "reason"],
  "payment.refunded": ["orderId", "amount"],
};

const CONTROL = /\p{Cc}/u;
const CONTROLS = /\p{Cc}+/gu;

/** The language of last resort. */
export const FALLBACK_LANGUAGE = "en";

export interface TextRequest {
  readonly orderId: string;
  readonly event: NotifiedEvent;
  readonly channel: ChannelKind;
  /** As the customer gave it, `de-AT`; absent: the fallback. */
  readonly language: string | undefined;
  readonly facts: Facts;
}

export interface RenderedText {
  /** Of the templates that were used. */
  readonly language: string;
  readonly subject: string;
  readonly text: string;
}

export interface Templates {
  render(request: TextRequest): RenderedText;
}

/** Texts between placeholders: they alternate, a text first. */
interface Compiled {
  readonly texts: readonly string[];
  readonly names: readonly Placeholder[];
}

interface CompiledText {
  readonly subject: Compiled;
  readonly text: Compiled;
}

interface CompiledLanguage {
  readonly source: LanguageTemplates;
  readonly texts: ReadonlyMap<string, CompiledText>;
}

/** Throws `BAD_CONFIGURATION` naming language, event, channel and what is allowed. */
export function compileTemplates(languages: readonly LanguageTemplates[]): Templates {
  const compiled = new Map(
    languages.map((source) => [source.language, compileLanguage(source)] as const),
  );
  const fallback = compiled.get(FALLBACK_LANGUAGE);
  if (fallback === undefined) throw refused(`there are no templates for ${FALLBACK_LANGUAGE}`);

  return {
    render({ orderId, event, channel, language: tag, facts }) {
      const chosen =
        (tag === undefined ? undefined : (compiled.get(tag) ?? compiled.get(baseOf(tag)))) ??
        fallback;
      const { language, reasons } = chosen.source;
      // The region counts for amounts; it does not where the language is another one.
      const locale = tag !== undefined && baseOf(tag) === language ? tag : language;
      const template = chosen.texts.get(`${event}/${channel}`);
      assert(template !== undefined, "there is a text for every event and channel");
      const valueOf = (name: Placeholder): string => {
        switch (name) {
          case "orderId":
            return orderId;
          case "amount":
            return formatAmount(locale, facts.amountMinor ?? 0, facts.currency ?? "USD");
          case "trackingNumber":
            return facts.trackingNumber ?? "";
          case "carrier":
            return facts.carrier ?? "";
          case "reason":
            return facts.cancelReason === undefined ? "" : reasons[facts.cancelReason];
        }
      };
      return {
        language,
        subject: fill(template.subject, valueOf),
        text: fill(template.text, valueOf),
      };
    },
  };
}

/** `text` as a minimal HTML document: paragraphs, line breaks, nothing that loads. */
export function htmlOf(text: string, language: string): string {
  const paragraphs = text
    .split(/\n{2,}/)
    .map((paragraph) => `<p>${escapeHtml(paragraph).replaceAll("\n", "<br>")}</p>`);
  const head = `<!doctype html><html lang="${escapeHtml(language)}"><meta charset="utf-8">`;
  return `${head}<body>${paragraphs.join("")}</body></html>`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);
}

function compileLanguage(source: LanguageTemplates): CompiledLanguage {
  const texts = new Map<string, CompiledText>();
  for (const event of NOTIFIED_EVENTS) {
    for (const channel of CHANNEL_KINDS) {
      const { subject = "", text: given } = source.events[event][channel];
      const text = typeof given === "string" ? given : given.join("\n\n");
      const where = `template ${source.language}/${event}/${channel}`;
      if (text === "") throw refused(`${where} is empty`);
      if ((subject === "") !== (channel === "sms")) {
        throw refused(`${where}: e-mail and push have a subject, SMS has none`);
      }
      texts.set(`${event}/${channel}`, {
        subject: compile(subject, event, `${where}, subject`),
        text: compile(text, event, `${where}, text`),
      });
    }
  }
  return { source, texts };
}

function compile(template: string, event: NotifiedEvent, where: string): Compiled {
  const allowed = PLACEHOLDERS[event];
  const texts: string[] = [];
  const names: Placeholder[] = [];
  for (const [at, part] of template.split(/\{([^{}]*)\}/).entries()) {
    if (at % 2 === 0) {
      if (/[{}]/.test(part)) throw refused(`${where} has a brace without its other half`);
      texts.push(part);
      continue;
    }
    const name = allowed.find((each) => each === part);
    if (name === undefined) {
      throw refused(`${where} names {${part}}; allowed are ${allowed.join(", ")}`);
    }
    names.push(name);
  }
  return { texts, names };
}

function fill({ texts, names }: Compiled, valueOf: (name: Placeholder) => string): string {
  let filled = texts[0] ?? "";
  for (let at = 0; at < names.length; at++) {
    const value = valueOf(names[at]!); // `!`: the loop's bound
    // `!`: there is a text after every placeholder.
    filled += (CONTROL.test(value) ? value.replace(CONTROLS, " ") : value) + texts[at + 1]!;
  }
  return filled;
}

/** `de` of `de-AT`. */
function baseOf(tag: string): string {
  const at = tag.indexOf("-");
  return at < 0 ? tag : tag.slice(0, at);
}

function refused(message: string): ShopError {
  return new ShopError("BAD_CONFIGURATION", message, "never");
}
