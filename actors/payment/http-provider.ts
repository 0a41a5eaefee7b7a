/**
 * A real payment provider over HTTP: `POST {base}/captures` and `POST {base}/refunds`, JSON.
 *
 * Every call carries `Idempotency-Key` and ends within its timeout. 200 is an answer, 402 a
 * decline; anything else, and anything that is not the JSON it should be, is
 * `PROVIDER_UNAVAILABLE`, to be asked again under the same key. Redirects are refused: they would
 * repeat a payment somewhere else.
 */

import type { Static, TSchema } from "@sinclair/typebox";
import { Type } from "@sinclair/typebox";
import { TypeCompiler, type TypeCheck } from "@sinclair/typebox/compiler";

import type { Environment } from "../../runtime/environment.ts";
import type {
  CaptureRequest,
  CaptureResult,
  PaymentGateway,
  RefundRequest,
  RefundResult,
} from "./gateways.ts";

import { describeError, isShopError, ShopError } from "../../runtime/errors.ts";

export interface HttpProviderSettings {
  /** Without a trailing slash. */
  readonly baseUrl: string;
  /** From the first byte sent to the last byte read. */
  readonly timeoutMs: number;
}

const ANSWER_BYTES_MAX = 64 * 1024;
const Name = Type.String({ minLength: 1, maxLength: 128 });
const captured = TypeCompiler.Compile(
  Type.Object({ status: Type.Literal("captured"), reference: Name }),
);
const declined = TypeCompiler.Compile(
  Type.Object({
    status: Type.Literal("declined"),
    reason: Type.String({ minLength: 1, maxLength: 500 }),
  }),
);
const refunded = TypeCompiler.Compile(
  Type.Object({
    status: Type.Union([Type.Literal("refunded"), Type.Literal("nothing_to_refund")]),
    reference: Name,
  }),
);

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export function createHttpProvider(
  environment: Environment,
  settings: HttpProviderSettings,
): PaymentGateway {
  async function post(path: string, request: CaptureRequest | RefundRequest, signal: AbortSignal) {
    if (signal.aborted) throw closed();
    const controller = new AbortController();
    const abort = () => controller.abort();
    const timer = environment.startTimer(settings.timeoutMs, abort);
    signal.addEventListener("abort", abort, { once: true });
    const url = `${settings.baseUrl}${path}`;
    try {
      return await exchange(url, request, controller.signal);
    } catch (error) {
      if (signal.aborted) throw closed();
      if (isShopError(error)) throw error;
      const why = controller.signal.aborted
        ? `no answer within ${settings.timeoutMs} ms`
        : describeError(error);
      throw unavailable(url, why, error);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", abort);
    }
  }

  async function capture(request: CaptureRequest, signal: AbortSignal): Promise<CaptureResult> {
    const { status, body } = await post("/captures", request, signal);
    if (status === 200) return checked(captured, body, "/captures");
    if (status === 402) return checked(declined, body, "/captures");
    throw unavailable("/captures", `status ${status}`);
  }

  async function refund(request: RefundRequest, signal: AbortSignal): Promise<RefundResult> {
    const { status, body } = await post("/refunds", request, signal);
    if (status === 200) return checked(refunded, body, "/refunds");
    throw unavailable("/refunds", `status ${status}`);
  }

  return { capture, refund };
}

async function exchange(
  url: string,
  request: CaptureRequest | RefundRequest,
  signal: AbortSignal,
): Promise<Answer> {
  const { idempotencyKey, ...fields } = request;
  const response = await fetch(url, {
    method: "POST",
    redirect: "error",
    headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
    body: JSON.stringify(fields),
    signal,
  });
  const text = await readBounded(response, url);
  const isAnswer = response.status === 200 || response.status === 402;
  return { status: response.status, body: isAnswer ? JSON.parse(text) : undefined };
}

async function readBounded(response: Response, url: string): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > ANSWER_BYTES_MAX) throw unavailable(url, `more than ${ANSWER_BYTES_MAX} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function checked<Schema extends TSchema>(
  check: TypeCheck<Schema>,
  body: unknown,
  path: string,
): Static<Schema> {
  if (check.Check(body)) return body;
  throw unavailable(path, "answered something else than it promised");
}

function unavailable(where: string, why: string, cause?: unknown): ShopError {
  return new ShopError("PROVIDER_UNAVAILABLE", `${where}: ${why}`, "later", { cause });
}

function closed(): ShopError {
  return new ShopError("CLOSED", "the payment service is closing", "later");
}
