/**
 * Reads HTTP/1.1 responses out of socket chunks, as `http-pool.ts` needs them.
 *
 * Takes `content-length` and `chunked` bodies (RFC 9112 §6, §7.1). Refuses a head over 32 KiB, a
 * body over 64 MiB, and bytes beyond the response: the pool never pipelines.
 */

export interface HttpResponse {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  readonly keepAlive: boolean;
}

export interface ResponseParser {
  /** The response once it is whole; `undefined` while it is not. */
  push(bytes: Uint8Array): HttpResponse | "malformed" | undefined;
}

const HEAD_BYTES_MAX = 32 * 1024;
const BODY_BYTES_MAX = 64 * 1024 * 1024;

export function createResponseParser(): ResponseParser {
  let pending: Buffer = Buffer.alloc(0);
  return {
    push(bytes) {
      pending = pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([pending, bytes]);
      const parsed = parse(pending);
      if (parsed !== undefined) pending = Buffer.alloc(0);
      return parsed;
    },
  };
}

function parse(bytes: Buffer): HttpResponse | "malformed" | undefined {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd < 0) return bytes.length > HEAD_BYTES_MAX ? "malformed" : undefined;
  const [statusLine = "", ...lines] = bytes.toString("latin1", 0, headEnd).split("\r\n");
  const status = /^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1];
  if (status === undefined) return "malformed";
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon < 1) return "malformed";
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const rest = bytes.subarray(headEnd + 4);
  const chunked = headers.get("transfer-encoding")?.toLowerCase() === "chunked";
  const body = chunked
    ? readChunks(rest)
    : readSized(rest, bodyless(Number(status)) ? "0" : headers.get("content-length"));
  if (body === undefined || body === "malformed") return body;
  return {
    status: Number(status),
    headers,
    body: body.text,
    keepAlive: headers.get("connection")?.toLowerCase() !== "close",
  };
}

type Body = { readonly text: string } | "malformed" | undefined;

function bodyless(status: number): boolean {
  return status === 204 || status === 304;
}

function readSized(rest: Buffer, length: string | undefined): Body {
  if (length === undefined || !/^\d+$/.test(length)) return "malformed";
  const bodyBytes = Number(length);
  if (bodyBytes > BODY_BYTES_MAX || rest.length > bodyBytes) return "malformed";
  return rest.length < bodyBytes ? undefined : { text: rest.toString("utf8", 0, bodyBytes) };
}

function readChunks(rest: Buffer): Body {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = rest.indexOf("\r\n", at);
    if (lineEnd < 0) return rest.length > BODY_BYTES_MAX ? "malformed" : undefined;
    const size = /^[0-9a-fA-F]+/.exec(rest.toString("latin1", at, lineEnd))?.[0];
    if (size === undefined) return "malformed";
    const chunkBytes = Number.parseInt(size, 16);
    const start = lineEnd + 2;
    if (start + chunkBytes + 2 > rest.length) return undefined;
    if (chunkBytes === 0) {
      const text = Buffer.concat(parts).toString("utf8");
      return start + 2 === rest.length ? { text } : "malformed";
    }
    parts.push(rest.subarray(start, start + chunkBytes));
    at = start + chunkBytes + 2;
  }
}
