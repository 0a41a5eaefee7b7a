/**
 * `POST /admin/sabotage {"shard": 0, "how": "throw"}`: kills a shard, for tests of recovery; with
 * `"shard": "journal"` it is the journal, and the process ends; with `"views"` the views' thread.
 *
 * The door exists only when the configuration `sabotage` is on; otherwise the path is unknown like
 * any other. It is not part of the documented API.
 */

import type { Sabotage } from "../actors/sabotage.ts";
import type { HttpApp } from "./http/http-app.ts";

import { Type } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";

import { SABOTAGES } from "../actors/sabotage.ts";
import { isShopError } from "../runtime/errors.ts";

const PATH = "/admin/sabotage";
const body = TypeCompiler.Compile(
  Type.Object(
    {
      shard: Type.Union([
        Type.Integer({ minimum: 0 }),
        Type.Literal("journal"),
        Type.Literal("views"),
      ]),
      how: Type.Union(SABOTAGES.map((how) => Type.Literal(how))),
    },
    { additionalProperties: false },
  ),
);

export function withSabotageDoor(
  app: HttpApp,
  isOpen: boolean,
  onSabotage: (shard: number | "journal" | "views", how: Sabotage) => void,
): HttpApp {
  if (!isOpen) return app;
  return {
    ...app,
    async handle(request) {
      const isMine = request.method === "POST" && new URL(request.url).pathname === PATH;
      if (!isMine) return await app.handle(request);
      try {
        const order: unknown = await request.json();
        if (!body.Check(order)) return refuse(`wanted {shard, how: ${SABOTAGES.join(" | ")}}`);
        onSabotage(order.shard, order.how);
        return new Response(null, { status: 202 });
      } catch (error) {
        if (isShopError(error)) return refuse(error.message);
        if (error instanceof SyntaxError) return refuse("the body is not JSON");
        throw error;
      }
    },
  };
}

function refuse(detail: string): Response {
  return Response.json(
    { type: "about:blank", title: "Bad request", status: 400, detail },
    { status: 400, headers: { "content-type": "application/problem+json" } },
  );
}
