/**
 * Responses cut at every byte, in both framings. Bytes that are no response must be refused, not
 * waited for.
 */

import { describe, expect, test } from "bun:test";

import { createResponseParser } from "./http-response.ts";

const SIZED = 'HTTP/1.1 201 Created\r\nContent-Length: 12\r\nETag: "7"\r\n\r\n{"é":20.00}';
const CHUNKED =
  "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";

describe("createResponseParser", () => {
  test.each([
    ["sized", SIZED, 201, '{"é":20.00}'],
    ["chunked", CHUNKED, 200, "hello world"],
  ])("reads a %s response cut at any byte", (_name, text, status, body) => {
    const bytes = Buffer.from(text);
    for (let cut = 1; cut < bytes.length; cut++) {
      const parser = createResponseParser();
      expect(parser.push(bytes.subarray(0, cut))).toBeUndefined();
      expect(parser.push(bytes.subarray(cut))).toMatchObject({ status, body, keepAlive: true });
    }
  });

  test("reads one response after another and names headers in lower case", () => {
    const parser = createResponseParser();
    for (let n = 0; n < 3; n++) {
      const response = parser.push(Buffer.from(SIZED));
      if (response === undefined || response === "malformed") throw new Error("not read");
      expect(response.headers.get("etag")).toBe('"7"');
    }
  });

  test("knows that 204 has no body and that close means close", () => {
    const parser = createResponseParser();
    const response = parser.push(
      Buffer.from("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
    );
    expect(response).toMatchObject({ status: 204, body: "", keepAlive: false });
  });

  test.each([
    ["another protocol", "SSH-2.0-OpenSSH\r\n\r\n"],
    ["no length", "HTTP/1.1 200 OK\r\n\r\n"],
    ["a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"],
    ["a header without a colon", "HTTP/1.1 200 OK\r\nhello\r\n\r\n"],
    ["bytes after the response", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab"],
    ["bytes after the last chunk", `${CHUNKED}x`],
    ["a chunk without a size", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
    ["an endless head", "x".repeat(40_000)],
    ["a giant body", "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n"],
  ])("refuses %s", (_name, text) => {
    expect(createResponseParser().push(Buffer.from(text))).toBe("malformed");
  });
});
