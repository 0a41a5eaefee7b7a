/**
 * What is asked again, and what is an answer. Pools are made up, and nothing waits for a clock.
 */

import { expect, test } from "bun:test";

import { createPatientPool } from "./patient-pool.ts";
import { ShopError } from "../runtime/errors.ts";
import type { HttpRequest } from "./http-pool.ts";

const GET: HttpRequest = { method: "GET", path: "/v1/orders" };
const CUT = new ShopError("INDETERMINATE", "the connection was cut", "later");

/** Answers with `answers` one after the other, and with the last of them for ever. */
function poolOf(...answers: readonly (number | ShopError)[]) {
  const asked: HttpRequest[] = [];
  return {
    asked,
    async request(request: HttpRequest) {
      const answer = answers[Math.min(asked.length, answers.length - 1)];
      asked.push(request);
      if (answer instanceof ShopError) throw answer;
      return { status: answer ?? 0, headers: new Map<string, string>(), body: "", keepAlive: true };
    },
  };
}

test("asks again until there is an answer, and counts how often", async () => {
  const pool = poolOf(CUT, 503, 504, 503, 200);
  const patient = createPatientPool(pool, { pauseMs: 0 });
  expect((await patient.request(GET)).status).toBe(200);
  expect(pool.asked).toEqual([GET, GET, GET, GET, GET]);
  expect([...patient.repeats.values()]).toEqual([1, 2, 1]);
});

test.each([200, 201, 404, 409, 428, 500])("takes %d for an answer", async (status) => {
  const pool = poolOf(status, 200);
  const patient = createPatientPool(pool, { pauseMs: 0 });
  expect((await patient.request(GET)).status).toBe(status);
  expect(patient.repeats.size).toBe(0);
});

test("gives what it got last when its patience ends", async () => {
  const over = { patienceMs: 0, pauseMs: 0 };
  expect((await createPatientPool(poolOf(503), over).request(GET)).status).toBe(503);
  await expect(createPatientPool(poolOf(CUT), over).request(GET)).rejects.toBe(CUT);
});

test("does not ask again what can never be answered", async () => {
  const closed = new ShopError("CLOSED", "the pool is closed", "never");
  const pool = poolOf(closed, 200);
  await expect(createPatientPool(pool, { pauseMs: 0 }).request(GET)).rejects.toBe(closed);
  expect(pool.asked).toHaveLength(1);
});
