/**
 * What people are told of a server that cannot be used, as a table.
 *
 * The errors are those of the client library, taken from real servers; no password may show.
 */

import { expect, test } from "bun:test";

import { isShopError } from "../../../runtime/errors.ts";
import { describeRabbitFault, isPassing, parseRabbitUrl, versionFault } from "./rabbit-faults.ts";

const ADDRESS = parseRabbitUrl("amqp://alice:secret@rabbit.example:5673/shop");

function failure(message: string, code?: string | number): Error {
  return Object.assign(new Error(message), code === undefined ? {} : { code });
}

test("an address tells place, user and vhost, with the protocol's own defaults", () => {
  expect(ADDRESS).toEqual({
    place: "rabbit.example:5673",
    user: "alice",
    vhost: "shop",
    isSecure: false,
  });
  expect(parseRabbitUrl("amqp://localhost")).toEqual({
    place: "localhost:5672",
    user: "guest",
    vhost: "/",
    isSecure: false,
  });
  expect(parseRabbitUrl("amqps://localhost")).toMatchObject({
    place: "localhost:5671",
    isSecure: true,
  });
  expect(parseRabbitUrl("amqps://h/%2Fa").place).toBe("h:5671");
  expect(parseRabbitUrl("amqps://h/%2Fa").vhost).toBe("/a");
});

test("what is no address of a server is refused, and names what would be right", () => {
  for (const url of ["", "rabbit.example", "http://rabbit.example", "amqp://"]) {
    const refusal = (): unknown => parseRabbitUrl(url);
    expect(refusal).toThrow(/rabbitmq\.url: .*amqp:\/\/user:password@host:port\/vhost/);
    try {
      refusal();
    } catch (error) {
      expect(isShopError(error, "SERVER_UNUSABLE")).toBe(true);
    }
  }
});

test("each failure of a server is said in the words of the setting that is wrong", () => {
  const login =
    'Handshake terminated by server: 403 (ACCESS-REFUSED) with message "ACCESS_REFUSED - Login ' +
    'was refused using authentication mechanism PLAIN."';
  const right =
    'Channel closed by server: 403 (ACCESS-REFUSED) with message "ACCESS_REFUSED - access to ' +
    "exchange 'shopstream.orders' in vhost 'shop' refused for user 'alice'\"";
  const different =
    'Operation failed: QueueDeclare; 406 (PRECONDITION-FAILED) with message "PRECONDITION_FAILED ' +
    "- inequivalent arg 'x-queue-type' for queue 'q'\"";
  const vhost = 'Connection closed: 530 (NOT-ALLOWED) with message "NOT_ALLOWED - vhost shop"';
  const table: [Error, RegExp][] = [
    [
      failure("connect ECONNREFUSED", "ECONNREFUSED"),
      /nothing answers at rabbit.example:5673 \(ECONN/,
    ],
    [failure("Failed to connect", "ENOTFOUND"), /nothing answers at .* \(ENOTFOUND\)/],
    [failure("read", "ECONNRESET"), /\(ECONNRESET\); amqps:\/\/ where it wants TLS$/],
    [failure("x", "ERR_TLS_CERT_ALTNAME_INVALID"), /rabbit.example:5673 is for another host/],
    [failure("connect ETIMEDOUT"), /does not speak AMQP in time/],
    [failure(login, 403), /refuses user "alice" \(wrong password\?\)/],
    [failure(right, 403), /user "alice" lacks a right on vhost "shop": .*shopstream\.orders/],
    [failure(different, 406), /rabbitmq\.prefix: something of this name exists.*inequivalent arg/],
    [failure(vhost, 530), /user "alice" may not use vhost "shop"/],
  ];
  for (const [error, told] of table) {
    const text = describeRabbitFault(error, ADDRESS);
    expect(text).toMatch(told);
    expect(text).toMatch(/^rabbitmq\.(url|prefix): /);
    expect(text).not.toContain("secret");
  }
});

test("an encrypted connection that is reset is not told to encrypt", () => {
  const text = describeRabbitFault(failure("read", "ECONNRESET"), parseRabbitUrl("amqps://h"));
  expect(text).toBe("rabbitmq.url: nothing answers at h:5671 (ECONNRESET)");
});

test("a server that is too old, or another, is named with what is needed", () => {
  expect(versionFault("RabbitMQ", "3.10.8")).toBeUndefined();
  expect(versionFault("RabbitMQ", "3.13.0-rc.1")).toBeUndefined();
  expect(versionFault("RabbitMQ", "4.0.2")).toBeUndefined();
  expect(versionFault("RabbitMQ", "3.9.29")).toBe(
    "rabbitmq.url: the server is RabbitMQ 3.9.29; needed is RabbitMQ 3.10 or later",
  );
  expect(versionFault("RabbitMQ", "2.12.0")).toContain("RabbitMQ 2.12.0");
  expect(versionFault("LavinMQ", "1.2.3")).toContain("the server is LavinMQ");
  expect(versionFault("RabbitMQ", "unknown")).toContain("does not tell its version");
});

test("queues that have no leader yet are waited for, queues that are missing are not", () => {
  const down =
    "NOT_FOUND - home node 'a@b' of durable queue 'q' in vhost '/' is down or inaccessible";
  expect(isPassing(failure(down, 404))).toBe(true);
  expect(isPassing(failure("NOT_FOUND - no queue 'q' in vhost '/'", 404))).toBe(false);
});
