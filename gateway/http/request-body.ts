/**
 * From a request to a checked JSON value, reading the body once and never more than allowed.
 *
 * Refuses another media type or a content coding (415), a body over the bound whether or not its
 * length was announced (413), bytes that are not UTF-8 and JSON that `strict-json.ts` does not
 * take (400).
 */

import { parseStrictJson } from "./strict-json.ts";
import { Problem } from "./problem.ts";

export interface BodyLimits {
  readonly bodyBytes: number;
  readonly jsonDepth: number;
}

const JSON_TYPE = /^application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The value of a body that must be there. Not checked against any schema. */
export async function readJson(
  request: Request,
  limits: BodyLimits,
): Promise<{ readonly value: unknown } | Problem> {
  const problem = checkMediaType(request);
  if (problem !== undefined) return problem;
  const bytes = await readBytes(request, limits.bodyBytes);
  return bytes instanceof Problem ? bytes : parseBytes(bytes, limits.jsonDepth);
}

/** As `readJson`, but no body at all is `{}`. */
export async function readOptionalJson(
  request: Request,
  limits: BodyLimits,
): Promise<{ readonly value: unknown } | Problem> {
  const bytes = await readBytes(request, limits.bodyBytes);
  if (bytes instanceof Problem) return bytes;
  if (bytes.byteLength === 0) return { value: {} };
  return checkMediaType(request) ?? parseBytes(bytes, limits.jsonDepth);
}

function checkMediaType(request: Request): Problem | undefined {
  const type = request.headers.get("content-type");
  const coding = request.headers.get("content-encoding");
  if (type !== "application/json" && !(type !== null && JSON_TYPE.test(type))) {
    const given = type === null ? "there is no Content-Type" : "another Content-Type was given";
    return mediaProblem(`the body must be application/json in UTF-8; ${given}`);
  }
  if (coding !== null && coding !== "identity") {
    return mediaProblem("the body must not be compressed or otherwise encoded");
  }
  return undefined;
}

/** All bytes of the body; stops reading as soon as there are too many. */
async function readBytes(request: Request, bytesMax: number): Promise<Uint8Array | Problem> {
  const announced = request.headers.get("content-length");
  if (announced !== null) {
    if (!(Number(announced) <= bytesMax)) return tooLarge(bytesMax);
    const whole = await request.bytes();
    return whole.byteLength > bytesMax ? tooLarge(bytesMax) : whole;
  }
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request.body) {
    bytes += chunk.byteLength;
    if (bytes > bytesMax) return tooLarge(bytesMax);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseBytes(bytes: Uint8Array, depthMax: number): { readonly value: unknown } | Problem {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return new Problem("malformed_json", "not UTF-8");
    throw error;
  }
  const result = parseStrictJson(text, depthMax);
  return "refused" in result ? new Problem("malformed_json", result.refused) : result;
}

function tooLarge(bytesMax: number): Problem {
  // The rest of the body is not read, so the connection cannot be used again.
  const headers = { connection: "close" };
  return new Problem("body_too_large", `the body is over ${bytesMax} bytes`, { headers });
}

function mediaProblem(detail: string): Problem {
  return new Problem("unsupported_media_type", detail, { headers: { accept: "application/json" } });
}
