/**
 * What a node is told of a reader, request by request. No I/O.
 */

import { expect, test } from "bun:test";

import type { FetchPlace } from "./fetch-session.ts";

import { FetchSession } from "./fetch-session.ts";

function place(name: string, offset: number): FetchPlace {
  const [topic = "", partition = ""] = name.split("/");
  return { topic, partition: Number(partition), offset };
}

/** A session that the node keeps as number 7, told of these. */
function begun(...places: readonly FetchPlace[]): FetchSession {
  const session = new FetchSession();
  session.ask(places);
  session.answered(7);
  return session;
}

test("the first request asks for a session and names everything", () => {
  const places = [place("a/0", 5), place("a/1", 0), place("b/0", 9)];
  const ask = new FetchSession().ask(places);
  expect(ask).toEqual({ sessionId: 0, epoch: 0, places, forgotten: new Map() });
});

test("later ones name what is to be read from elsewhere and what is new", () => {
  const session = begun(place("a/0", 5), place("a/1", 0));
  const ask = session.ask([place("a/0", 6), place("a/1", 0), place("b/0", 9)]);
  expect(ask).toEqual({
    sessionId: 7,
    epoch: 1,
    places: [place("a/0", 6), place("b/0", 9)],
    forgotten: new Map(),
  });
  session.answered(7);
  const same = session.ask([place("a/0", 6), place("a/1", 0), place("b/0", 9)]);
  expect(same).toEqual({ sessionId: 7, epoch: 2, places: [], forgotten: new Map() });
});

test("what is not wanted any more is forgotten once, and named again when it is wanted", () => {
  const session = begun(place("a/0", 5), place("a/1", 0), place("b/0", 9));
  const without = session.ask([place("a/1", 0)]);
  expect(without.places).toEqual([]);
  expect(without.forgotten).toEqual(
    new Map([
      ["a", [0]],
      ["b", [0]],
    ]),
  );
  session.answered(7);
  const again = session.ask([place("a/1", 0), place("a/0", 5)]);
  expect(again.places).toEqual([place("a/0", 5)]);
  expect(again.forgotten).toEqual(new Map());
});

test("what went wrong begins a new session that names everything, in place of the old", () => {
  const session = begun(place("a/0", 5), place("a/1", 0));
  session.ask([place("a/0", 5), place("a/1", 0)]);
  session.forget();
  // Epoch 0 with an id: the node drops that session and makes another.
  const ask = session.ask([place("a/0", 5)]);
  expect(ask).toEqual({
    sessionId: 7,
    epoch: 0,
    places: [place("a/0", 5)],
    forgotten: new Map(),
  });
  session.answered(8);
  expect(session.ask([place("a/0", 5)])).toMatchObject({ sessionId: 8, epoch: 1, places: [] });
});

test("a session that the node does not have is not named any more", () => {
  const session = begun(place("a/0", 5));
  session.lost();
  const ask = session.ask([place("a/0", 5)]);
  expect(ask).toMatchObject({ sessionId: 0, epoch: 0, places: [place("a/0", 5)] });
});

test("a session that there is can be ended, with its last epoch and nothing to read", () => {
  expect(new FetchSession().ending()).toBeUndefined();
  const ending = begun(place("a/0", 5)).ending();
  expect(ending).toEqual({ sessionId: 7, epoch: -1, places: [], forgotten: new Map() });
});

test("a node that keeps no session is told everything every time", () => {
  const session = new FetchSession();
  for (let request = 0; request < 3; request++) {
    const ask = session.ask([place("a/0", 5)]);
    expect(ask).toEqual({
      sessionId: 0,
      epoch: 0,
      places: [place("a/0", 5)],
      forgotten: new Map(),
    });
    session.answered(0);
  }
});
