/**
 * The k6 scenario of order intake: a constant arrival rate against a shop that is up.
 *
 * Thresholds make k6 itself end with an error: more than 1 % of failed requests, a 95th percentile
 * of order creation over its limit, or a rate that was not kept. Every answer is looked into, but
 * k6 does not read orders back: that none is lost or doubled is proved by `load/orders.ts`.
 * Settings come as `-e NAME=value`: URL, RATE (orders/s), SECONDS, P95_MS, VUS_MAX.
 */

import http from "k6/http";
import { check } from "k6";
import exec from "k6/execution";
import { Counter } from "k6/metrics";
import type { Options } from "k6/options";

interface Answer {
  readonly id?: unknown;
  readonly status?: unknown;
  readonly total?: unknown;
}

const url = __ENV["URL"] ?? "http://127.0.0.1:8080";
const ratePerSecond = Number(__ENV["RATE"] ?? "500");
const seconds = Number(__ENV["SECONDS"] ?? "30");
const p95Ms = Number(__ENV["P95_MS"] ?? "100");
const vusMax = Number(__ENV["VUS_MAX"] ?? "200");

const PRODUCTS = 20;
const STOCK_EACH = 100_000_000;
const PRICE = 19.99;

const accepted = new Counter("orders_accepted");

export const options: Options = {
  scenarios: {
    orders: {
      executor: "constant-arrival-rate",
      exec: "placeOrder",
      rate: ratePerSecond,
      timeUnit: "1s",
      duration: `${seconds}s`,
      preAllocatedVUs: Math.min(50, vusMax),
      maxVUs: vusMax,
    },
  },
  thresholds: {
    "http_req_failed{name:place order}": ["rate<0.01"],
    "http_req_duration{name:place order}": [`p(95)<${p95Ms}`],
    checks: ["rate>0.99"],
    // Iterations that k6 could not start in time would flatter the latencies.
    dropped_iterations: [`count<${Math.ceil(ratePerSecond * seconds * 0.01)}`],
    orders_accepted: [`count>${Math.floor(ratePerSecond * seconds * 0.98)}`],
  },
  summaryTrendStats: ["avg", "med", "p(95)", "p(99)", "max"],
};

/** Puts stock for products of this run only; its result is handed to every iteration. */
export function setup(): { readonly runId: string } {
  const runId = `k6-${Date.now().toString(36)}`;
  for (let n = 0; n < PRODUCTS; n++) {
    const body = JSON.stringify({ available: STOCK_EACH });
    const answer = http.put(`${url}/v1/inventory/${runId}-p${n}`, body, {
      headers: { "Content-Type": "application/json" },
      tags: { name: "put stock" },
    });
    if (answer.status !== 201) exec.test.abort(`stock was refused: ${answer.status}`);
  }
  return { runId };
}

export function placeOrder({ runId }: { readonly runId: string }): void {
  const n = exec.scenario.iterationInTest;
  const quantity = 1 + (n % 3);
  const productId = `${runId}-p${n % PRODUCTS}`;
  const body = JSON.stringify({
    customerId: `${runId}-c${n}`,
    items: [{ productId, quantity, price: PRICE }],
  });
  const answer = http.post(`${url}/v1/orders`, body, {
    headers: { "Content-Type": "application/json", "Idempotency-Key": `${runId}-k${n}` },
    tags: { name: "place order" },
  });
  const total = Math.round(PRICE * 100 * quantity) / 100;
  const good = check(answer, {
    "is 201": (response) => response.status === 201,
    "has an id, is pending and costs what it should": (response) => {
      // Anything may come back; every field that is used is compared.
      const order = response.status === 201 ? (response.json() as Answer) : {};
      return typeof order.id === "string" && order.status === "pending" && order.total === total;
    },
  });
  if (good) accepted.add(1);
}
