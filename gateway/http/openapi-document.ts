/**
 * The OpenAPI 3.1 document of the running application.
 *
 * Paths come from the routes that are really there, through @elysiajs/openapi; schemas are the
 * TypeBox schemas that check and describe the bodies. A route without an operation is not part of
 * the API and is left out.
 */

import { toOpenAPISchema } from "@elysiajs/openapi";
import type { AnyElysia } from "elysia";

import {
  HealthSchema,
  NewOrderSchema,
  OrderPageSchema,
  OrderSchema,
  PendingSchema,
  ProblemSchema,
  StockChangeSchema,
  StockSchema,
  TimelineSchema,
} from "./api-schemas.ts";
import {
  AnalyticsRealtimeSchema,
  AnalyticsRowsSchema,
  EventsAcceptedSchema,
  NewEventsSchema,
} from "./analytics-schemas.ts";
import type { SchemaName } from "./api-operation.ts";
import { AUDIT_SCHEMAS } from "./audit-schemas.ts";
import { DEAD_LETTER_SCHEMAS } from "./dead-letter-schemas.ts";
import { LedgerSchema } from "./ledger-schemas.ts";
import { NotificationLedgerSchema } from "./notification-schemas.ts";

export const OPENAPI_VERSION = "3.1.2";

const SCHEMAS: Readonly<Record<SchemaName, object>> = {
  NewOrder: NewOrderSchema,
  Order: OrderSchema,
  Pending: PendingSchema,
  OrderPage: OrderPageSchema,
  Timeline: TimelineSchema,
  Stock: StockSchema,
  StockChange: StockChangeSchema,
  Health: HealthSchema,
  Problem: ProblemSchema,
  ...AUDIT_SCHEMAS,
  NotificationLedger: NotificationLedgerSchema,
  Ledger: LedgerSchema,
  ...DEAD_LETTER_SCHEMAS,
  NewEvents: NewEventsSchema,
  EventsAccepted: EventsAcceptedSchema,
  AnalyticsRealtime: AnalyticsRealtimeSchema,
  AnalyticsRows: AnalyticsRowsSchema,
};

const INFO = {
  title: "ShopStream",
  version: "1",
  description:
    "The order platform of an online shop. An order that was answered with 201 is on disk. " +
    "Every error is a problem of RFC 9457; every response names its X-Correlation-Id.",
  license: { name: "Apache-2.0", identifier: "Apache-2.0" },
};

const TAGS = [
  { name: "orders", description: "Place, watch and cancel orders." },
  { name: "inventory", description: "What there is of each product." },
  { name: "analytics", description: "What visitors do, and what the shop's events add up to." },
  {
    name: "audit",
    description: "What happened, when, because of what; and whether it still says so.",
  },
  { name: "operations", description: "Probes and metrics." },
];

/** The document as JSON text. Call it after the last route was added. */
export function openApiJson(app: AnyElysia): string {
  const { paths } = toOpenAPISchema(app, undefined, undefined, undefined, OPENAPI_VERSION);
  return JSON.stringify({
    openapi: OPENAPI_VERSION,
    info: INFO,
    servers: [{ url: "/", description: "This server." }],
    tags: TAGS,
    paths,
    components: { schemas: SCHEMAS },
  });
}
