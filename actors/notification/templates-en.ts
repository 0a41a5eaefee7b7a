/**
 * What customers read in English: a text for every event and channel.
 *
 * SMS stay within 160 characters for ids of usual length. Nothing here links anywhere: a message
 * that asks for a click is what forgers send.
 */

import type { LanguageTemplates } from "./templates.ts";

export const ENGLISH: LanguageTemplates = {
  language: "en",
  events: {
    "order.created": {
      email: {
        subject: "Your order {orderId}",
        text: [
          "Hello,",
          "we have received your order {orderId} over {amount}.",
          "We will write again when it leaves our warehouse.",
          "Thank you for shopping with us.",
        ],
      },
      sms: { text: "We have received your order {orderId} over {amount}." },
      push: { subject: "Order received", text: "Your order over {amount} is with us." },
    },
    "payment.failed": {
      email: {
        subject: "Payment for your order {orderId} failed",
        text: [
          "Hello,",
          "the payment of {amount} for your order {orderId} did not go through.",
          "You will not be charged for it.",
        ],
      },
      sms: { text: "The payment of {amount} for your order {orderId} failed." },
      push: { subject: "Payment failed", text: "The payment of {amount} did not go through." },
    },
    "order.shipped": {
      email: {
        subject: "Your order {orderId} is on its way",
        text: [
          "Hello,",
          "your order {orderId} has left our warehouse.",
          "Carrier: {carrier}\nTracking number: {trackingNumber}",
        ],
      },
      sms: { text: "Your order {orderId} is on its way. Tracking number: {trackingNumber}" },
      push: { subject: "On its way", text: "{carrier} has your parcel {trackingNumber}." },
    },
    "order.delivered": {
      email: {
        subject: "Your order {orderId} has been delivered",
        text: [
          "Hello,",
          "your order {orderId} has been delivered (tracking number {trackingNumber}).",
          "Enjoy it!",
        ],
      },
      sms: { text: "Your order {orderId} has been delivered." },
      push: { subject: "Delivered", text: "Your parcel {trackingNumber} has been delivered." },
    },
    "order.cancelled": {
      email: {
        subject: "Your order {orderId} has been cancelled",
        text: [
          "Hello,",
          "your order {orderId} has been cancelled. {reason}",
          "What you have paid will be refunded.",
        ],
      },
      sms: { text: "Your order {orderId} has been cancelled. {reason}" },
      push: { subject: "Order cancelled", text: "{reason}" },
    },
    "payment.refunded": {
      email: {
        subject: "Refund for your order {orderId}",
        text: ["Hello,", "we have refunded {amount} for your order {orderId}."],
      },
      sms: { text: "We have refunded {amount} for your order {orderId}." },
      push: { subject: "Refunded", text: "We have refunded {amount}." },
    },
  },
  reasons: {
    payment_failed: "The payment did not go through.",
    out_of_stock: "Some of the items are out of stock.",
    reservation_expired: "The payment did not arrive in time.",
    requested: "You asked us to cancel it.",
  },
};
