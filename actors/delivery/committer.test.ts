/**
 * The committer: deciding again on conflicts, leaving out duplicates, and giving up in time.
 *
 * Stores here answer by script, so that every path is taken on purpose.
 */

import { describe, expect, test } from "bun:test";

import type { Delivery, DeliveryRef } from "../brokers/broker.ts";
import type { CommitResult, Store, UnitOfWork } from "../stores/unit-of-work.ts";
import type { Message } from "./outcome.ts";

import { decodeFrame, encodeFrame } from "../../runtime/frames/frame.ts";
import { createVirtualEnvironment } from "../../runtime/virtual-environment.ts";
import { EMPTY_UNIT } from "../stores/unit-of-work.ts";
import { commitDecision, commitMessages } from "./committer.ts";

const environment = createVirtualEnvironment();
const CONFLICT: CommitResult = { kind: "conflict", table: "orders", key: "o", version: 7 };
const COMMITTED: CommitResult = { kind: "committed" };

interface Commit {
  readonly unit: UnitOfWork;
  readonly sequences: readonly number[];
}

function scripted(...answers: readonly CommitResult[]): { store: Store; commits: Commit[] } {
  const commits: Commit[] = [];
  const store: Store = {
    acknowledges: true,
    commit: (unit, deliveries: readonly DeliveryRef[]) => {
      const answer = answers[commits.length] ?? COMMITTED;
      commits.push({ unit, sequences: deliveries.map(({ sequence }) => sequence) });
      return Promise.resolve(answer);
    },
    load: () => Promise.resolve([]),
  };
  return { store, commits };
}

function messageOf(sequence: number): Message<number> {
  const payload = new Uint8Array(0);
  const fields = { id: environment.newId(), timeMs: 0, key: "k", slot: 0, type: 1, payload };
  const frame = decodeFrame(encodeFrame(fields));
  const place = { group: "g", topic: "t", partition: 0, sequence, epoch: 1 };
  const delivery: Delivery = { ...place, bytes: payload, attempt: 1, notBeforeMs: 0 };
  return { delivery, frame, attempt: 1, body: sequence };
}

describe("one decision", () => {
  test("is made again until nobody wrote in between, and the last one counts", async () => {
    const { store, commits } = scripted(CONFLICT, CONFLICT, COMMITTED);
    let round = 0;
    const answer = await commitDecision(store, [messageOf(1).delivery], () =>
      Promise.resolve({ unit: EMPTY_UNIT, result: ++round }),
    );
    expect(answer).toEqual({ kind: "committed", result: 3 });
    expect(commits.map(({ sequences }) => sequences)).toEqual([[1], [1], [1]]);
  });

  test("is given up after the bound, to be tried again later", async () => {
    const { store, commits } = scripted(...Array.from({ length: 20 }, () => CONFLICT));
    const decide = () => Promise.resolve({ unit: EMPTY_UNIT, result: undefined });
    const giving = commitDecision(store, [], decide, 3);
    await expect(giving).rejects.toMatchObject({ code: "VERSION_CONFLICT", retry: "later" });
    expect(commits).toHaveLength(3);
  });

  test("that is a duplicate is told apart from one that was committed", async () => {
    const { store, commits } = scripted({ kind: "duplicate", messageIds: ["m"] });
    const decide = () => Promise.resolve({ unit: EMPTY_UNIT, result: undefined });
    const answer = await commitDecision(store, [], decide);
    expect(answer).toEqual({ kind: "duplicate", messageIds: ["m"] });
    expect(commits).toHaveLength(1);
  });
});

describe("a decision over many messages", () => {
  test("settles all of them when it is committed", async () => {
    const { store, commits } = scripted();
    const messages = [1, 2, 3].map(messageOf);
    const decide = (fresh: readonly Message<number>[]) =>
      Promise.resolve({ unit: EMPTY_UNIT, result: fresh.length });
    const { result, outcomes } = await commitMessages(store, messages, decide);
    expect(result).toBe(3);
    expect(outcomes.map(({ kind }) => kind)).toEqual(["settled", "settled", "settled"]);
    expect(commits.map(({ sequences }) => sequences)).toEqual([[1, 2, 3]]);
  });

  test("leaves out duplicates, acknowledges these, and decides the rest anew", async () => {
    const messages = [1, 2, 3].map(messageOf);
    const ids = messages.map(({ frame }) => frame.id);
    const { store, commits } = scripted(
      { kind: "duplicate", messageIds: [ids[1] ?? ""] },
      CONFLICT,
      { kind: "duplicate", messageIds: [ids[0] ?? ""] },
    );
    const seen: number[][] = [];
    const { result, outcomes } = await commitMessages(store, messages, (fresh) => {
      seen.push(fresh.map(({ body }) => body));
      return Promise.resolve({ unit: EMPTY_UNIT, result: fresh.length });
    });
    expect(seen).toEqual([[1, 2, 3], [1, 3], [1, 3], [3]]);
    expect(commits.map(({ sequences }) => sequences)).toEqual(seen);
    expect(result).toBe(1);
    expect(outcomes.map(({ kind }) => kind)).toEqual(["ack", "ack", "settled"]);
  });

  test("of nothing but duplicates acknowledges all and has no result", async () => {
    const messages = [1, 2].map(messageOf);
    const messageIds = messages.map(({ frame }) => frame.id);
    const { store, commits } = scripted({ kind: "duplicate", messageIds });
    const decide = () => Promise.resolve({ unit: EMPTY_UNIT, result: 1 });
    const { result, outcomes } = await commitMessages(store, messages, decide);
    expect(result).toBeUndefined();
    expect(outcomes.map(({ kind }) => kind)).toEqual(["ack", "ack"]);
    expect(commits).toHaveLength(1);
  });

  test("does not go round for ever over duplicates it does not know", async () => {
    const stranger: CommitResult = { kind: "duplicate", messageIds: ["stranger"] };
    const { store, commits } = scripted(...Array.from({ length: 20 }, () => stranger));
    const decide = () => Promise.resolve({ unit: EMPTY_UNIT, result: 1 });
    const giving = commitMessages(store, [messageOf(1)], decide);
    await expect(giving).rejects.toMatchObject({ code: "VERSION_CONFLICT" });
    expect(commits.length).toBeLessThanOrEqual(2);
  });
});
