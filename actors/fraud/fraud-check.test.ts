/**
 * What the fraud check is told of an order. Names, street lines and tokens are no part of it.
 */

import { expect, test } from "bun:test";

import type { EventOf } from "../contracts/messages.ts";

import { fraudOrderOf } from "./fraud-check.ts";

const ADDRESS = {
  name: "Ada",
  line1: "12 St James's Square",
  city: "São Paulo",
  postalCode: "01310-100",
  country: "BR",
};
const ORDER: EventOf<"order.created"> = {
  type: "order.created",
  orderId: "o1",
  customerId: "ada",
  items: [
    { productId: "tea", quantity: 2, priceMinor: 500 },
    { productId: "cup", quantity: 4, priceMinor: 100 },
    { productId: "tea", quantity: 3, priceMinor: 500 },
  ],
  totalMinor: 2_900,
  currency: "USD",
};

test("an order is reduced to what the rules look at", () => {
  const order = fraudOrderOf({
    ...ORDER,
    shippingAddress: ADDRESS,
    billingAddress: { ...ADDRESS, city: "SAO  PAULO", postalCode: "01310100" },
    paymentMethod: { type: "card", token: "tok_1", fingerprint: "fp1" },
    contact: { email: "ada@Mail.Example.ORG", phone: "+4930123456" },
  });
  const place = { country: "BR", postalCode: "01310100" };
  expect(order).toMatchObject({
    orderId: "o1",
    customerId: "ada",
    amountMinor: 2_900,
    currency: "USD",
    lines: 3,
    quantityMax: 5,
    card: "fp1",
    emailDomain: "mail.example.org",
    shipping: place,
    billing: place,
  });
  // Another spelling of a town is no mismatch.
  expect(order.shipping?.city).toBe(order.billing?.city ?? "");
  const text = JSON.stringify(order);
  for (const secret of ["Ada", "James", "tok_1", "ada@", "+49"]) expect(text).not.toContain(secret);
});

test("a mail domain is known however it is written", () => {
  const domainOf = (email: string) => fraudOrderOf({ ...ORDER, contact: { email } }).emailDomain;
  for (const spelling of ["Spam.IO", "spam.io.", "spam.io..", "spam\u3002io", "\uff53pam.io"]) {
    expect([spelling, domainOf(`ada@${spelling}`)]).toEqual([spelling, "spam.io"]);
  }
  expect(domainOf("ada@b\u00fccher.example")).toBe(domainOf("ada@xn--bcher-kva.example"));
  expect(domainOf("ada@not_a domain")).toBe("not_a domain");
});

test("an order that says little is told as it is", () => {
  expect(fraudOrderOf(ORDER)).toEqual({
    orderId: "o1",
    customerId: "ada",
    amountMinor: 2_900,
    currency: "USD",
    lines: 3,
    quantityMax: 5,
  });
});
