/**
 * The endpoints of stock: read with an entity tag, set under a precondition.
 *
 * `PUT` never overwrites what its sender has not seen: an existing product needs `If-Match`. Stock
 * that is reserved or shipped is not the sender's to change.
 */

import { Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";

import { STOCK_EXAMPLE } from "./api-examples.ts";
import type { ParameterSpec } from "./api-operation.ts";
import { operation } from "./api-operation.ts";
import { IdSchema, StockChangeSchema } from "./api-schemas.ts";
import type { Answer, Call, Route } from "./endpoint.ts";
import { jsonResponse } from "./endpoint.ts";
import type { TagCondition } from "./entity-tag.ts";
import { entityTag, parseCondition } from "./entity-tag.ts";
import type { GatewayDeps } from "./gateway-ports.ts";
import { sendCommand } from "./order-routes.ts";
import { stockJson, stockOfRow } from "./order-view.ts";
import { Problem } from "./problem.ts";
import { readJson } from "./request-body.ts";
import { compileBodyCheck, invalidRequest } from "./schema-check.ts";
import { describe, expectReply } from "./shop-problems.ts";

const checkChange = compileBodyCheck(StockChangeSchema);

const productId: ParameterSpec = {
  name: "productId",
  in: "path",
  description: "The product's id.",
  schema: IdSchema,
  example: STOCK_EXAMPLE.productId,
};
const ETAG = { ETag: "The version, quoted." };
const STOCK = { mediaType: "application/json", schema: "Stock", example: STOCK_EXAMPLE } as const;

const GET_STOCK = operation({
  operationId: "getStock",
  summary: "Read the stock of a product",
  description: "May be a few minutes old; a change through this API is seen at once.",
  tag: "inventory",
  parameters: [
    productId,
    {
      name: "If-None-Match",
      in: "header",
      description: "Entity tags the caller has.",
      schema: Type.String(),
    },
  ],
  answers: {
    200: { description: "The stock.", content: STOCK, headers: ETAG },
    304: { description: "The caller has this version.", headers: ETAG },
  },
  problems: ["malformed_request", "not_found", "saturated", "unavailable", "not_ready"],
});

const PUT_STOCK = operation({
  operationId: "setStock",
  summary: "Create a product, or set what is available of it",
  description:
    "Without a precondition only a new product is taken. An existing one needs `If-Match` with " +
    "the ETag that was read; `If-None-Match: *` insists on a new one.",
  tag: "inventory",
  parameters: [
    productId,
    {
      name: "If-Match",
      in: "header",
      description: "The version the change is meant for.",
      schema: Type.String(),
      example: '"4"',
    },
    {
      name: "If-None-Match",
      in: "header",
      description: "Only `*`: the product must not exist.",
      schema: Type.String(),
    },
  ],
  body: { schema: "StockChange", example: { available: 98 }, required: true },
  answers: {
    200: { description: "The stock, changed.", content: STOCK, headers: ETAG },
    201: {
      description: "The stock of a new product.",
      content: { ...STOCK, example: { ...STOCK_EXAMPLE, reserved: 0, version: 1 } },
      headers: { ...ETAG, Location: "Path of the product." },
    },
  },
  problems: [
    "malformed_request",
    "malformed_json",
    "stale_version",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "version_required",
    "saturated",
    "unavailable",
    "not_ready",
    "timed_out",
  ],
});

export function inventoryRoutes(deps: GatewayDeps): readonly Route[] {
  const shared = { path: "/v1/inventory/:productId", admission: "limited" } as const;
  return [
    { ...shared, method: "GET", endpoint: (call) => getStock(deps, call), operation: GET_STOCK },
    { ...shared, method: "PUT", endpoint: (call) => putStock(deps, call), operation: PUT_STOCK },
  ];
}

async function getStock(deps: GatewayDeps, { request, params }: Call): Promise<Answer> {
  const known = parseCondition(request.headers.get("if-none-match"));
  if (known.kind === "malformed") return malformedTag("If-None-Match");
  const stock = await deps.availability.get(params["productId"] ?? "");
  if (stock === undefined) return describe("not_found");
  const etag = entityTag(stock.version);
  const isKnown = known.kind === "versions" && known.versions.includes(stock.version);
  if (isKnown || known.kind === "any")
    return new Response(null, { status: 304, headers: { etag } });
  return jsonResponse(200, stockJson(stock), { etag });
}

async function putStock(deps: GatewayDeps, call: Call): Promise<Answer> {
  const id = call.params["productId"] ?? "";
  if (!Value.Check(IdSchema, id)) {
    const detail = "must be 1 to 128 characters, none of them a control character";
    return invalidRequest([{ parameter: "productId", detail }]);
  }
  const read = await readJson(call.request, deps.limits);
  if (read instanceof Problem) return read;
  const checked = checkChange(read.value);
  if (checked instanceof Problem) return checked;
  const expected = await expectedVersion(deps, call.request, id);
  if (expected instanceof Problem) return expected;

  const { available } = checked.body;
  const command = { type: "inventory.set", productId: id, available, ...expected } as const;
  const answer = await sendCommand(deps, call, command);
  // Also after a refusal: the caller's next read must show what it lost against.
  deps.availability.invalidate(id);
  const reply = expectReply(answer, "stock");
  if (reply instanceof Problem) {
    // To a precondition, a product that is not there is one that has changed (RFC 9110, 13.1.1).
    return reply.kind === "not_found" ? describe("stale_version") : reply;
  }
  const etag = entityTag(reply.stock.version);
  const location = { location: `/v1/inventory/${encodeURIComponent(id)}` };
  return reply.created
    ? jsonResponse(201, stockJson(reply.stock), { etag, ...location })
    : jsonResponse(200, stockJson(reply.stock), { etag });
}

/** The version that the preconditions allow; none given: only a new product. */
async function expectedVersion(
  deps: GatewayDeps,
  request: Request,
  id: string,
): Promise<{ readonly expectedVersion?: number } | Problem> {
  const match = parseCondition(request.headers.get("if-match"));
  if (match.kind === "malformed") return malformedTag("If-Match");
  const noneMatch = parseCondition(request.headers.get("if-none-match"));
  if (noneMatch.kind !== "absent") {
    if (noneMatch.kind !== "any" || match.kind !== "absent") return malformedTag("If-None-Match");
    return { expectedVersion: 0 };
  }
  if (match.kind === "absent") return {};
  const version = await matchingVersion(deps, match, id);
  return version === undefined ? describe("stale_version") : { expectedVersion: version };
}

/** One version is left to the shard to compare; a choice of them is made on the stored row. */
async function matchingVersion(
  deps: GatewayDeps,
  match: Extract<TagCondition, { kind: "any" | "versions" }>,
  id: string,
): Promise<number | undefined> {
  if (match.kind === "versions" && match.versions.length < 2) return match.versions[0];
  const row = await deps.reads.stock(id);
  const current = row && stockOfRow(row).version;
  if (current === undefined || match.kind === "any") return current;
  return match.versions.includes(current) ? current : undefined;
}

function malformedTag(header: string): Problem {
  const errors = [{ header, detail: "is not a condition that can be used here" }];
  return new Problem("malformed_request", `${header} cannot be read`, { errors });
}
