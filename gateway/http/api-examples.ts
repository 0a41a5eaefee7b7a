/**
 * The examples of the OpenAPI document. They are requests and answers of one short story, and a
 * test holds each of them against its schema.
 *
 * Nothing here reaches a response: what the API answers is never made up.
 */

const CREATED_AT = "2026-01-05T09:30:00.000Z";
const ORDER_ID = "019b8d7e-51c0-7000-8000-2f1e6a3b9c4d";

export const NEW_ORDER_EXAMPLE = {
  customerId: "customer-7",
  items: [{ productId: "sku-1", quantity: 2, price: 10 }],
  currency: "USD",
  shippingAddress: {
    line1: "1 Main Street",
    city: "Springfield",
    postalCode: "12345",
    country: "US",
  },
  paymentMethod: { type: "card", token: "tok_visa" },
};

export const ORDER_EXAMPLE = {
  id: ORDER_ID,
  customerId: "customer-7",
  items: [{ productId: "sku-1", quantity: 2, price: 10 }],
  status: "pending",
  paymentStatus: "pending",
  inventoryStatus: "pending",
  total: 20,
  currency: "USD",
  shippingAddress: NEW_ORDER_EXAMPLE.shippingAddress,
  paymentMethod: { type: "card" },
  createdAt: CREATED_AT,
  updatedAt: CREATED_AT,
  version: 1,
};

export const CANCELLED_EXAMPLE = {
  ...ORDER_EXAMPLE,
  status: "cancelled",
  cancelReason: "requested",
  updatedAt: "2026-01-05T09:30:00.500Z",
  version: 2,
};

export const PENDING_EXAMPLE = { id: ORDER_ID, outcome: "pending" };

export const ORDER_PAGE_EXAMPLE = {
  orders: [ORDER_EXAMPLE],
  nextCursor: Buffer.from(`1767605400000:${ORDER_ID}`).toString("base64url"),
};

export const TIMELINE_EXAMPLE = {
  events: [
    {
      version: 1,
      type: "order.created",
      at: CREATED_AT,
      data: { orderId: ORDER_ID, customerId: "customer-7", total: 20, currency: "USD" },
    },
  ],
};

export const STREAM_EXAMPLE = `retry: 2000

id: 1
data: ${JSON.stringify(TIMELINE_EXAMPLE.events[0])}

event: end
data: {"reason":"settled"}

`;

export const STOCK_EXAMPLE = {
  productId: "sku-1",
  available: 98,
  reserved: 2,
  shipped: 0,
  version: 4,
};

export const HEALTH_EXAMPLE = {
  status: "up",
  services: [
    { name: "order", status: "up", latencyMs: 1.8, errorRate: 0, lastChecked: CREATED_AT },
  ],
};

export const METRICS_EXAMPLE = `# HELP shopstream_orders_total Orders, by status.
# TYPE shopstream_orders_total counter
shopstream_orders_total{status="shipped"} 42
`;
