/**
 * Redriving: same message id, a fresh count, a header that says so, and no deadline.
 *
 * That a redrive repeated over a kill has no second effect is a case of the broker suite.
 */

import { expect, test } from "bun:test";

import type { DeadLetter, Outgoing } from "../brokers/broker.ts";

import { isShopError } from "../../runtime/errors.ts";
import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { redrive } from "./redrive.ts";

const environment = createVirtualEnvironment();
const payload = Uint8Array.of(1, 2, 3);
const fields = { id: environment.newId(), timeMs: 5, key: "k", slot: 3, type: 9, payload };

function letterOf(bytes: Uint8Array): DeadLetter {
  const burial = { reason: "poison", attempts: 5, firstError: "a", lastError: "b" };
  const place = { id: 1, group: "g", topic: "t", partition: 3, sequence: 12 };
  return { ...place, bytes, burial, buriedAtMs: 0 };
}

test("a redriven frame keeps its id and body, and loses attempts and deadline", async () => {
  const sent: Outgoing[] = [];
  const publish = (frames: readonly Outgoing[]): Promise<void> => {
    sent.push(...frames);
    return Promise.resolve();
  };
  const headers = { correlationid: "c" };
  const bytes = encodeFrame({ ...fields, attempt: 5, deadlineMs: 77, headers });
  await redrive({ publish }, [letterOf(bytes)]);
  expect(sent.map(({ topic }) => topic)).toEqual(["t"]);
  const frame = decodeFrame(sent[0]?.frame ?? new Uint8Array(0));
  expect(frame).toMatchObject({ id: fields.id, key: "k", slot: 3, type: 9, attempt: 0 });
  expect(frame.deadlineMs).toBe(0);
  expect(frame.headers).toEqual({ correlationid: "c", redriven: "g/t/3/12" });
  expect([...frame.payload]).toEqual([1, 2, 3]);
});

test("bytes that are no frame are refused, and nothing is sent", async () => {
  let published = 0;
  const publish = (): Promise<void> => Promise.resolve(void published++);
  const good = letterOf(encodeFrame(fields));
  const bad = letterOf(Uint8Array.of(1, 2, 3));
  const refusal = await redrive({ publish }, [good, bad]).catch((error: unknown) => error);
  expect(isShopError(refusal, "BAD_FRAME")).toBe(true);
  expect(published).toBe(0);
});
