/**
 * A timeline as JSON and as an event stream: complete, in order, once each, and always ended.
 *
 * The reader takes chunk by chunk under a virtual clock, so slowness needs no waiting.
 */

import { describe, expect, test } from "bun:test";

import * as fc from "fast-check";

import { HEARTBEAT_MS } from "./sse.ts";
import { makeRequest, NEW_ORDER, openShop, ORIGIN } from "./testing/api-client.ts";

interface StreamEvent {
  readonly id?: string;
  readonly event?: string;
  readonly data: string;
}

async function openWithOrder(limits: Parameters<typeof openShop>[0] = {}) {
  const opened = openShop(limits);
  const { json } = await opened.send("POST", "/v1/orders", { body: NEW_ORDER });
  const { id } = json as { id: string }; // Order
  const path = `/v1/orders/${id}/events`;

  async function stream(headers: Readonly<Record<string, string>> = {}, signal?: AbortSignal) {
    const request = makeRequest(ORIGIN, "GET", path, {
      headers: { accept: "text/event-stream", ...headers },
    });
    const withSignal = signal === undefined ? request : new Request(request, { signal });
    const response = await opened.app.handle(withSignal);
    return { response, reader: new StreamReader(response) };
  }
  return { ...opened, id, path, stream };
}

/** Reads a stream as a client would, by hand. */
class StreamReader {
  readonly #reader: ReturnType<typeof readerOf>;
  readonly #decoder = new TextDecoder();
  text = "";
  done = false;

  constructor(response: Response) {
    this.#reader = readerOf(response);
  }

  /** Takes one more chunk; false at the end. */
  async take(): Promise<boolean> {
    const chunk = await this.#reader?.read();
    this.done = chunk === undefined || chunk.done;
    if (chunk?.value !== undefined) this.text += this.#decoder.decode(chunk.value);
    return !this.done;
  }

  async takeAll(): Promise<readonly StreamEvent[]> {
    while (await this.take());
    return this.events();
  }

  async cancel(): Promise<void> {
    await this.#reader?.cancel();
  }

  /** Complete events so far, as the standard says to parse them. */
  events(): readonly StreamEvent[] {
    return this.text
      .split("\n\n")
      .map((block) => block.split("\n").map((line) => line.split(/: ?(.*)/s)))
      .map((fields) => Object.fromEntries(fields.map(([name, value]) => [name, value])))
      .filter((event): event is StreamEvent & { [name: string]: string } => "data" in event);
  }

  ids(): readonly (string | undefined)[] {
    return this.events().flatMap(({ id }) => (id === undefined ? [] : [id]));
  }
}

function readerOf(response: Response) {
  return response.body?.getReader();
}

describe("the timeline as JSON", () => {
  test("gives every entry with decimals and UTC times", async () => {
    const { send, shop, id, path } = await openWithOrder();
    shop.deliver(id);
    const reply = await send("GET", path);
    expect(reply.status).toBe(200);
    const { events } = reply.json as { events: { version: number; type: string }[] }; // Timeline
    expect(events.map(({ version }) => version)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(events.map(({ type }) => type)).toEqual([
      "order.created",
      "payment.processed",
      "inventory.reserved",
      "order.ready_to_ship",
      "order.shipped",
      "order.delivered",
    ]);
    expect(events[0]).toMatchObject({
      at: "2023-11-14T22:13:20.000Z",
      data: { orderId: id, total: 20, currency: "USD", items: [{ quantity: 2, price: 10 }] },
    });
    expect(reply.text).toContain('"total":20.00');
    expect(reply.text).toContain('"expiresAt":"2023-11-14T22:43:20.000Z"');
    expect(reply.text).not.toMatch(/Minor|AtMs/);
  });
});

describe("the timeline as a stream", () => {
  test("of an order that is done gives its history, an end, and closes", async () => {
    const { shop, id, stream, app } = await openWithOrder();
    shop.deliver(id);
    const { response, reader } = await stream();
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(response.headers.get("x-correlation-id")).toBeString();
    const events = await reader.takeAll();
    expect(reader.ids()).toEqual(["1", "2", "3", "4", "5", "6"]);
    expect(JSON.parse(events[0]?.data ?? "")).toMatchObject({ version: 1, type: "order.created" });
    expect(events.at(-1)).toEqual({ event: "end", data: '{"reason":"settled"}' });
    expect(app.openStreams()).toBe(0);
    expect(shop.listenerCount).toBe(0);
  });

  test("gives what is added while it is open, as it is added", async () => {
    const { shop, id, stream } = await openWithOrder();
    const { reader } = await stream();
    await reader.take();
    await reader.take();
    expect(reader.ids()).toEqual(["1"]);
    const next = reader.take();
    shop.pay(id);
    await next;
    expect(reader.ids()).toEqual(["1", "2"]);
    shop.reserve(id);
    await reader.take();
    expect(reader.ids()).toEqual(["1", "2", "3", "4"]);
    await reader.cancel();
  });

  test("begins after Last-Event-ID", async () => {
    const { shop, id, stream } = await openWithOrder();
    shop.deliver(id);
    const { reader } = await stream({ "last-event-id": "4" });
    await reader.takeAll();
    expect(reader.ids()).toEqual(["5", "6"]);
  });

  test("is 204 when nothing will follow Last-Event-ID, so that a browser stays away", async () => {
    const { shop, id, stream } = await openWithOrder();
    expect((await stream({ "last-event-id": "1" })).response.status).toBe(200);
    shop.deliver(id);
    expect((await stream({ "last-event-id": "6" })).response.status).toBe(204);
    expect((await stream({ "last-event-id": "5" })).response.status).toBe(200);
    expect((await stream({ "last-event-id": "abc" })).response.status).toBe(400);
  });

  test("of a cancelled order stays open until payment and stock are back", async () => {
    const { send, shop, id, stream, environment } = await openWithOrder();
    shop.pay(id);
    await send("POST", `/v1/orders/${id}/cancel`);
    const { reader } = await stream();
    await reader.take();
    await reader.take();
    expect(reader.ids()).toEqual(["1", "2", "3"]);
    const all = reader.takeAll();
    await environment.settle();
    expect(reader.done).toBe(false);
    shop.happen({ type: "inventory.reserved", orderId: id, status: "failed" });
    await environment.settle();
    expect(reader.done).toBe(false);
    const back = { amountMinor: 2000, currency: "USD", reference: "r" };
    shop.happen({ type: "payment.refunded", orderId: id, ...back });
    expect((await all).at(-1)).toEqual({ event: "end", data: '{"reason":"settled"}' });
    expect(reader.ids()).toEqual(["1", "2", "3", "4", "5"]);
  });

  test("says that it is still there while nothing happens", async () => {
    const { stream, environment } = await openWithOrder();
    const { reader } = await stream();
    await reader.take();
    await reader.take();
    const beat = reader.take();
    await environment.advance(HEARTBEAT_MS);
    await beat;
    expect(reader.text).toEndWith(": still here\n\n");
    await reader.cancel();
  });

  test("ends when it gets too old, and leaves no timer behind", async () => {
    const { stream, environment, app } = await openWithOrder({ streamMs: 60_000 });
    const { reader } = await stream();
    const all = reader.takeAll();
    await environment.advance(60_000);
    expect((await all).at(-1)).toEqual({ event: "end", data: '{"reason":"expired"}' });
    expect(environment.pendingTimers()).toBe(0);
    expect(app.openStreams()).toBe(0);
  });

  test("ends when the shop stops, and no new one is opened", async () => {
    const { stream, app } = await openWithOrder();
    const { reader } = await stream();
    const all = reader.takeAll();
    app.close();
    expect((await all).at(-1)).toEqual({ event: "end", data: '{"reason":"stopping"}' });
    expect((await stream()).response.status).toBe(503);
  });

  test("ends with a failure of the store, told to the log", async () => {
    const { shop, stream } = await openWithOrder();
    const error = new Error("secret");
    shop.beforeTimeline = () => Promise.reject(error);
    const { reader } = await stream();
    const events = await reader.takeAll();
    expect(events).toEqual([{ event: "end", data: '{"reason":"failed"}' }]);
    expect(shop.failures).toMatchObject([{ error }]);
  });

  test("lets go of everything when the reader goes, by cancel or by abort", async () => {
    const { shop, stream, environment, app } = await openWithOrder();
    const abort = new AbortController();
    const cancelled = await stream();
    const aborted = await stream({}, abort.signal);
    for (const { reader } of [cancelled, aborted]) await reader.take();
    expect(app.openStreams()).toBe(2);
    await cancelled.reader.cancel();
    abort.abort();
    await environment.settle();
    expect(app.openStreams()).toBe(0);
    expect(shop.listenerCount).toBe(0);
    expect(environment.pendingTimers()).toBe(0);
  });

  test("beyond the bound is 503, until one of them ends", async () => {
    const { stream } = await openWithOrder({ streamsMax: 2 });
    const first = await stream();
    await stream();
    expect((await stream()).response.status).toBe(503);
    await first.reader.cancel();
    expect((await stream()).response.status).toBe(200);
  });

  test("is not opened by HEAD", async () => {
    const { send, path, app } = await openWithOrder();
    const reply = await send("HEAD", path, { headers: { accept: "text/event-stream" } });
    expect(reply.status).toBe(200);
    expect(reply.headers.get("content-type")).toBe("text/event-stream");
    expect(app.openStreams()).toBe(0);
  });

  test("does not count as a request in flight", async () => {
    const { stream, app } = await openWithOrder({ inFlightMax: 1 });
    await stream();
    await stream();
    expect(app.inFlight()).toBe(0);
  });

  test("reads nothing for a reader that takes nothing, however much is added", async () => {
    const { shop, id, stream, environment } = await openWithOrder();
    await stream();
    await environment.settle();
    let reads = 0;
    shop.beforeTimeline = () => void reads++;
    shop.deliver(id);
    await environment.advance(HEARTBEAT_MS * 10);
    expect(reads).toBe(0);
  });

  test("gives every entry once and in order, whenever it is added and taken", async () => {
    const steps = fc.array(fc.constantFrom("take", "pay", "reserve", "ship", "settle"), {
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(steps, async (schedule) => {
        const { shop, id, stream, environment } = await openWithOrder();
        const { reader } = await stream();
        const takes: Promise<boolean>[] = [];
        for (const step of schedule) {
          if (step === "take") takes.push(reader.take());
          else if (step === "pay") shop.pay(id);
          else if (step === "reserve") shop.reserve(id);
          else if (step === "ship") {
            const parcel = { orderId: id, trackingNumber: "t", carrier: "c" };
            shop.happen({ type: "shipment.packed", ...parcel });
          } else await environment.settle();
        }
        shop.deliver(id);
        await Promise.all(takes);
        await reader.takeAll();
        expect(reader.ids()).toEqual(["1", "2", "3", "4", "5", "6"]);
      }),
      { numRuns: 40 },
    );
  });
});
