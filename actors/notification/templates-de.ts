/**
 * What customers read in German: a text for every event and channel.
 *
 * SMS stay within 160 characters for ids of usual length. Nothing here links anywhere: a message
 * that asks for a click is what forgers send.
 */

import type { LanguageTemplates } from "./templates.ts";

export const GERMAN: LanguageTemplates = {
  language: "de",
  events: {
    "order.created": {
      email: {
        subject: "Ihre Bestellung {orderId}",
        text: [
          "Guten Tag,",
          "wir haben Ihre Bestellung {orderId} über {amount} erhalten.",
          "Sobald sie unser Lager verlässt, melden wir uns wieder.",
          "Vielen Dank für Ihren Einkauf.",
        ],
      },
      sms: { text: "Wir haben Ihre Bestellung {orderId} über {amount} erhalten." },
      push: { subject: "Bestellung erhalten", text: "Ihre Bestellung über {amount} ist da." },
    },
    "payment.failed": {
      email: {
        subject: "Zahlung Ihrer Bestellung {orderId} fehlgeschlagen",
        text: [
          "Guten Tag,",
          "die Zahlung von {amount} für Ihre Bestellung {orderId} ist fehlgeschlagen.",
          "Sie müssen dafür nichts bezahlen.",
        ],
      },
      sms: { text: "Die Zahlung von {amount} für Ihre Bestellung {orderId} ist fehlgeschlagen." },
      push: {
        subject: "Zahlung fehlgeschlagen",
        text: "Die Zahlung von {amount} ist fehlgeschlagen.",
      },
    },
    "order.shipped": {
      email: {
        subject: "Ihre Bestellung {orderId} ist unterwegs",
        text: [
          "Guten Tag,",
          "Ihre Bestellung {orderId} hat unser Lager verlassen.",
          "Versand durch: {carrier}\nSendungsnummer: {trackingNumber}",
        ],
      },
      sms: { text: "Ihre Bestellung {orderId} ist unterwegs. Sendungsnummer: {trackingNumber}" },
      push: { subject: "Unterwegs", text: "{carrier} bringt Ihre Sendung {trackingNumber}." },
    },
    "order.delivered": {
      email: {
        subject: "Ihre Bestellung {orderId} wurde zugestellt",
        text: [
          "Guten Tag,",
          "Ihre Bestellung {orderId} wurde zugestellt (Sendungsnummer {trackingNumber}).",
          "Viel Freude damit!",
        ],
      },
      sms: { text: "Ihre Bestellung {orderId} wurde zugestellt." },
      push: { subject: "Zugestellt", text: "Ihre Sendung {trackingNumber} wurde zugestellt." },
    },
    "order.cancelled": {
      email: {
        subject: "Ihre Bestellung {orderId} wurde storniert",
        text: [
          "Guten Tag,",
          "Ihre Bestellung {orderId} wurde storniert. {reason}",
          "Bereits gezahlte Beträge erstatten wir Ihnen.",
        ],
      },
      sms: { text: "Ihre Bestellung {orderId} wurde storniert. {reason}" },
      push: { subject: "Bestellung storniert", text: "{reason}" },
    },
    "payment.refunded": {
      email: {
        subject: "Erstattung für Ihre Bestellung {orderId}",
        text: ["Guten Tag,", "wir haben Ihnen {amount} für Ihre Bestellung {orderId} erstattet."],
      },
      sms: { text: "Wir haben Ihnen {amount} für Ihre Bestellung {orderId} erstattet." },
      push: { subject: "Erstattet", text: "Wir haben Ihnen {amount} erstattet." },
    },
  },
  reasons: {
    payment_failed: "Die Zahlung ist fehlgeschlagen.",
    out_of_stock: "Einige Artikel sind nicht mehr vorrätig.",
    reservation_expired: "Die Zahlung ist nicht rechtzeitig eingegangen.",
    requested: "Sie haben uns darum gebeten.",
  },
};
