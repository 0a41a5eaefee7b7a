/**
 * The endpoints of orders: create, read, list, timeline, cancel.
 *
 * Commands go to the shard that owns the order and are answered after the commit; reads go to the
 * read side. Nothing here decides whether an order may change.
 */

import type { CommandReply, OrderState } from "../../actors/contracts/order-state.ts";
import { ORDER_STATUSES } from "../../actors/contracts/order-state.ts";
import type { ShopCommand } from "../../actors/contracts/messages.ts";
import type { OrderQuery } from "../../actors/stores/unit-of-work.ts";
import { EmptySchema, NewOrderSchema, PAGE_DEFAULT, PAGE_MAX } from "./api-schemas.ts";
import type { Answer, Call, Route } from "./endpoint.ts";
import { jsonResponse } from "./endpoint.ts";
import type { GatewayDeps } from "./gateway-ports.ts";
import { idempotencyKeyOf } from "./idempotency.ts";
import { createOrderCommand } from "./order-intake.ts";
import {
  CANCEL_ORDER,
  CREATE_ORDER,
  GET_ORDER,
  LIST_ORDERS,
  ORDER_EVENTS,
} from "./order-operations.ts";
import { isSettled, orderJson, orderOfRow, orderPageJson, timelineJson } from "./order-view.ts";
import { decodeCursor, encodeCursor } from "./page-cursor.ts";
import { Problem } from "./problem.ts";
import { readQuery } from "./query-string.ts";
import { readJson, readOptionalJson } from "./request-body.ts";
import { traceparentOf } from "./request-trace.ts";
import { compileBodyCheck, invalidRequest } from "./schema-check.ts";
import { describe, expectReply, saturated } from "./shop-problems.ts";
import type { StreamRegistry } from "./sse.ts";

const checkNewOrder = compileBodyCheck(NewOrderSchema);
const checkEmpty = compileBodyCheck(EmptySchema);

const STREAM_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-store",
  "x-accel-buffering": "no",
  vary: "accept",
};
const ORDER_ID_LENGTH_MAX = 128;
const WHOLE_NUMBER = /^(0|[1-9][0-9]{0,9})$/;

export function orderRoutes(deps: GatewayDeps, streams: StreamRegistry): readonly Route[] {
  const orders = new OrderEndpoints(deps, streams);
  const limited = { admission: "limited" } as const;
  return [
    {
      ...limited,
      method: "POST",
      path: "/v1/orders",
      endpoint: (call) => orders.create(call),
      operation: CREATE_ORDER,
    },
    {
      ...limited,
      method: "GET",
      path: "/v1/orders",
      endpoint: (call) => orders.list(call),
      operation: LIST_ORDERS,
    },
    {
      ...limited,
      method: "GET",
      path: "/v1/orders/:id",
      endpoint: (call) => orders.get(call),
      operation: GET_ORDER,
    },
    {
      ...limited,
      method: "GET",
      path: "/v1/orders/:id/events",
      endpoint: (call) => orders.timeline(call),
      operation: ORDER_EVENTS,
    },
    {
      ...limited,
      method: "POST",
      path: "/v1/orders/:id/cancel",
      endpoint: (call) => orders.cancel(call),
      operation: CANCEL_ORDER,
    },
  ];
}

/** Sends a command with what follows every request. Shared by all endpoints that change. */
export function sendCommand(
  deps: GatewayDeps,
  call: Call,
  command: ShopCommand,
): Promise<CommandReply> {
  const traceparent = traceparentOf(call.request);
  return deps.commands.send(command, {
    deadlineMs: deps.limits.commandTimeoutMs,
    correlationId: call.correlationId,
    ...(traceparent === undefined ? {} : { traceparent }),
  });
}

class OrderEndpoints {
  readonly #deps: GatewayDeps;
  readonly #streams: StreamRegistry;

  constructor(deps: GatewayDeps, streams: StreamRegistry) {
    this.#deps = deps;
    this.#streams = streams;
  }

  async create(call: Call): Promise<Answer> {
    const key = idempotencyKeyOf(call.request);
    if (key instanceof Problem) return key;
    const read = await readJson(call.request, this.#deps.limits);
    if (read instanceof Problem) return read;
    const checked = checkNewOrder(read.value);
    if (checked instanceof Problem) return checked;
    const command = createOrderCommand(checked.body, this.#deps.environment.newId(), key);
    if (command instanceof Problem) return command;
    const reply = expectReply(await sendCommand(this.#deps, call, command), "order");
    if (reply instanceof Problem) return reply;
    return jsonResponse(201, orderJson(reply.order), {
      location: `/v1/orders/${encodeURIComponent(reply.order.id)}`,
      ...(reply.replayed ? { "idempotency-replayed": "true" } : {}),
    });
  }

  async get({ params }: Call): Promise<Answer> {
    const order = await this.#load(params["id"] ?? "");
    return order === undefined ? describe("not_found") : jsonResponse(200, orderJson(order));
  }

  async list({ request }: Call): Promise<Answer> {
    const query = listQuery(request);
    if (query instanceof Problem) return query;
    // One row more than asked for tells whether there is another page.
    const rows = await this.#deps.reads.orders({ ...query, limit: query.limit + 1 });
    const orders = rows.slice(0, query.limit).map((row) => orderOfRow(row));
    const last = rows.length > query.limit ? orders.at(-1) : undefined;
    const cursor = last && encodeCursor({ createdAtMs: last.createdAtMs, key: last.id });
    return jsonResponse(200, orderPageJson(orders, cursor));
  }

  async cancel(call: Call): Promise<Answer> {
    const read = await readOptionalJson(call.request, this.#deps.limits);
    if (read instanceof Problem) return read;
    const checked = checkEmpty(read.value);
    if (checked instanceof Problem) return checked;
    const orderId = call.params["id"] ?? "";
    // Longer than any id of ours: no shard needs to be asked.
    if (orderId.length > ORDER_ID_LENGTH_MAX) return describe("not_found");
    const command = { type: "order.cancel", orderId } as const;
    const answer = await sendCommand(this.#deps, call, command);
    if (answer.kind === "pending") {
      const location = `/v1/orders/${encodeURIComponent(orderId)}`;
      return jsonResponse(202, JSON.stringify({ id: orderId, outcome: "pending" }), { location });
    }
    const reply = expectReply(answer, "order");
    return reply instanceof Problem ? reply : jsonResponse(200, orderJson(reply.order));
  }

  async timeline(call: Call): Promise<Answer> {
    const orderId = call.params["id"] ?? "";
    const order = await this.#load(orderId);
    if (order === undefined) return describe("not_found");
    if (wantsStream(call.request)) return this.#stream(call, order);
    const entries = await this.#deps.reads.timeline(orderId, 0);
    return jsonResponse(200, timelineJson(entries), { vary: "accept" });
  }

  #stream(call: Call, order: OrderState): Answer {
    const { request, correlationId } = call;
    const lastEventId = request.headers.get("last-event-id") ?? "";
    if (lastEventId !== "" && !WHOLE_NUMBER.test(lastEventId)) {
      const errors = [{ header: "Last-Event-ID", detail: "is not the id of an event" }];
      return new Problem("malformed_request", "Last-Event-ID cannot be read", { errors });
    }
    const afterVersion = Number(lastEventId);
    // 204 tells an EventSource to stay away: there will never be more.
    if (isSettled(order) && afterVersion >= order.version)
      return new Response(null, { status: 204 });
    // Elysia answers HEAD by measuring what GET gives, and a stream has no length.
    if (request.method === "HEAD") return new Response(null, { headers: STREAM_HEADERS });
    const { environment, reads, events, limits, onFailure } = this.#deps;
    const body = this.#streams.open({
      environment,
      reads,
      events,
      orderId: order.id,
      afterVersion,
      streamMs: limits.streamMs,
      signal: request.signal,
      onFailure: (error) => onFailure?.(error, correlationId),
    });
    if (body === undefined) return saturated(`${limits.streamsMax} event streams are open`);
    return new Response(body, { headers: STREAM_HEADERS });
  }

  async #load(orderId: string): Promise<OrderState | undefined> {
    const row = await this.#deps.reads.order(orderId);
    return row === undefined ? undefined : orderOfRow(row);
  }
}

function listQuery(request: Request): OrderQuery | Problem {
  const query = readQuery(request, ["customerId", "status", "limit", "cursor"]);
  if (query instanceof Problem) return query;
  const customerId = query.get("customerId");
  const status = query.get("status");
  const limit = query.get("limit");
  const cursor = query.get("cursor");
  if (status !== undefined && !ORDER_STATUSES.some((known) => known === status)) {
    const detail = `must be one of ${ORDER_STATUSES.join(", ")}`;
    return invalidRequest([{ parameter: "status", detail }]);
  }
  const count = limit === undefined ? PAGE_DEFAULT : Number(limit);
  if ((limit !== undefined && !WHOLE_NUMBER.test(limit)) || count < 1 || count > PAGE_MAX) {
    const detail = `must be a whole number from 1 to ${PAGE_MAX}`;
    return invalidRequest([{ parameter: "limit", detail }]);
  }
  const after = cursor === undefined ? undefined : decodeCursor(cursor);
  if (cursor !== undefined && after === undefined) {
    const errors = [{ parameter: "cursor", detail: "must be a nextCursor of this API" }];
    return new Problem("malformed_cursor", "the cursor cannot be read", { errors });
  }
  return {
    limit: count,
    ...(customerId === undefined ? {} : { customerId }),
    ...(status === undefined ? {} : { status }),
    ...(after === undefined ? {} : { after }),
  };
}

/** True when `Accept` names event streams; a browser's `EventSource` always does. */
function wantsStream(request: Request): boolean {
  return (request.headers.get("accept") ?? "").toLowerCase().includes("text/event-stream");
}
