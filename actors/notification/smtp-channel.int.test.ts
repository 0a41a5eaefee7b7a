/**
 * E-mail against a real SMTP server in this process: what it accepts, delays, refuses, breaks.
 *
 * A refusal for good may end a notification; nothing else may. No test waits for a timeout longer
 * than it sets itself.
 */

import { afterEach, describe, expect, test } from "bun:test";

import type { Socket } from "node:net";
import type { SMTPServerOptions } from "smtp-server";

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SMTPServer } from "smtp-server";

import type { Channel } from "./channel.ts";
import type { Notification } from "./notification.ts";
import type { SmtpSettings } from "./notification-policy.ts";

import { createSmtpChannel, messageIdOf } from "./smtp-channel.ts";

interface Mail {
  readonly to: readonly string[];
  readonly text: string;
}

class ReplyError extends Error {
  readonly responseCode: number;
  constructor(responseCode: number, message: string) {
    super(message);
    this.responseCode = responseCode;
  }
}

const open: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

/** A mail server on a free port, or on `port`; without encryption or login unless asked for. */
async function startServer(options: SMTPServerOptions = {}, port = 0) {
  const mails: Mail[] = [];
  const sockets = new Set<Socket>();
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS"],
    disableReverseLookup: true,
    closeTimeout: 50,
    onData(stream, session, callback) {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => void chunks.push(chunk));
      stream.on("end", () => {
        const to = session.envelope.rcptTo.map(({ address }) => address);
        mails.push({ to, text: Buffer.concat(chunks).toString("utf8") });
        callback(null, "kept");
      });
    },
    ...options,
  });
  server.on("error", () => {}); // connections that the tests break
  server.server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => void sockets.delete(socket));
  });
  await new Promise<void>((resolve) => void server.listen(port, "127.0.0.1", resolve));
  const address = server.server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const stop = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  open.push(stop);
  return { mails, sockets, port: address.port, stop };
}

function channelTo(port: number, changes: Partial<SmtpSettings> = {}, timeoutMs = 5_000): Channel {
  const channel = createSmtpChannel({
    timeoutMs,
    settings: {
      host: "127.0.0.1",
      port,
      user: "",
      password: "",
      from: "shop@example.com",
      tls: "none",
      caFile: "",
      ...changes,
    },
  });
  open.push(() => channel.close());
  return channel;
}

function mailTo(to: string, orderId = "o1"): Notification {
  return {
    id: `${orderId}/order.created/email`,
    orderId,
    event: "order.created",
    channel: "email",
    language: "de",
    to,
    subject: "Ihre Bestellung über 10 €",
    text: "Guten Tag,\n\n<b>danke</b>",
    atMs: 1_700_000_000_000,
  };
}

const { signal } = new AbortController();
const ADA = mailTo("ada@example.com");

describe("a mail server", () => {
  test("that accepts gets text and HTML under a Message-ID made of the id", async () => {
    const { mails, port } = await startServer();
    const channel = channelTo(port);
    expect(await channel.send([ADA], signal)).toEqual([{ kind: "sent" }]);
    expect(mails).toHaveLength(1);
    const [mail] = mails;
    expect(mail?.to).toEqual(["ada@example.com"]);
    expect(mail?.text).toContain(`Message-ID: ${messageIdOf(ADA.id, "example.com")}`);
    expect(mail?.text).toContain("From: shop@example.com");
    expect(mail?.text).toContain("To: ada@example.com");
    expect(mail?.text).toContain("Date: Tue, 14 Nov 2023 22:13:20 +0000");
    expect(mail?.text).toContain("Auto-Submitted: auto-generated");
    expect(mail?.text).toContain("Content-Type: text/plain");
    expect(mail?.text).toContain("Content-Type: text/html");
    expect(mail?.text).toContain("&#60;b&#62;danke");
    await channel.send([ADA], signal);
    const idOf = (text = "") => /^Message-ID: (.*)$/m.exec(text)?.[1];
    expect(idOf(mails[1]?.text)).toBe(idOf(mail?.text) ?? "none");
  });

  test("gets a batch over few connections, each to its own recipient", async () => {
    let connections = 0;
    const { mails, port } = await startServer({
      onConnect(_session, callback) {
        connections++;
        callback();
      },
    });
    const batch = Array.from({ length: 40 }, (_, at) => mailTo(`c${at}@example.com`, `o${at}`));
    const results = await channelTo(port).send(batch, signal);
    expect(results).toEqual(batch.map(() => ({ kind: "sent" })));
    expect(mails.flatMap(({ to }) => to).sort()).toEqual(batch.map(({ to }) => to).sort());
    expect(connections).toBeLessThanOrEqual(4);
  });

  test("that is not ready yet is asked again, and then accepts", async () => {
    const known = new Set<string>();
    const { mails, port } = await startServer({
      onRcptTo({ address }, _session, callback) {
        if (known.has(address)) return callback();
        known.add(address);
        return callback(new ReplyError(451, "greylisted, come back"));
      },
    });
    const channel = channelTo(port);
    const [first] = await channel.send([ADA], signal);
    expect(first).toMatchObject({ kind: "failed", error: expect.stringContaining("greylisted") });
    expect(await channel.send([ADA], signal)).toEqual([{ kind: "sent" }]);
    expect(mails).toHaveLength(1);
  });

  test("that knows no such recipient rejects that one and takes the others", async () => {
    const { mails, port } = await startServer({
      onRcptTo({ address }, _session, callback) {
        callback(address.startsWith("nobody") ? new ReplyError(550, "no such user") : null);
      },
    });
    const batch = [ADA, mailTo("nobody@example.com", "o2"), mailTo("bob@example.com", "o3")];
    const results = await channelTo(port).send(batch, signal);
    expect(results.map(({ kind }) => kind)).toEqual(["sent", "rejected", "sent"]);
    expect(mails).toHaveLength(2);
  });

  test("that repeats the address in its refusal does not bring it into the ledger", async () => {
    const { port } = await startServer({
      onRcptTo({ address }, _session, callback) {
        callback(new ReplyError(550, `<${address}> and ${address.toUpperCase()}: no such user`));
      },
    });
    const [result] = await channelTo(port).send([ADA], signal);
    expect(result).toMatchObject({
      kind: "rejected",
      error: expect.stringContaining("<[recipient]> and [recipient]: no such user"),
    });
  });

  test("that refuses the message for good rejects it, for now only delays it", async () => {
    for (const [reply, kind] of [
      [554, "rejected"],
      [452, "failed"],
    ] as const) {
      const { port } = await startServer({
        onData(stream, _session, callback) {
          stream.on("end", () => callback(new ReplyError(reply, "not this one")));
          stream.resume();
        },
      });
      const [result] = await channelTo(port).send([ADA], signal);
      expect(result?.kind).toBe(kind);
    }
  });

  test("is never asked to take an address that would be a list or no address at all", async () => {
    const { mails, port } = await startServer();
    const hostile = ["a@example.com,b@example.com", "a,b@example.com", "g:a@example.com;", "a", ""];
    const batch = hostile.map((to) => mailTo(to));
    const results = await channelTo(port).send(batch, signal);
    expect(results.map(({ kind }) => kind)).toEqual(hostile.map(() => "rejected"));
    expect(mails).toEqual([]);
  });

  test("that hangs is given up by its own silence, and when the batch is cut off", async () => {
    const { port } = await startServer({ onMailFrom: () => {} });
    const [silent] = await channelTo(port, {}, 100).send([ADA], signal);
    expect(silent?.kind).toBe("failed");
    const cut = new AbortController();
    const batch = Array.from({ length: 6 }, (_, at) => mailTo("ada@example.com", `o${at}`));
    const sending = channelTo(port).send(batch, cut.signal);
    cut.abort();
    const errors = (await sending).map((result) => (result.kind === "failed" ? result.error : ""));
    expect(errors[0]).toContain("had not answered");
    expect(errors[5]).toContain("before its turn");
  });

  test("that drops the connection in mid-message has not taken it", async () => {
    let drops = 1;
    const server = await startServer({
      onData(stream, _session, callback) {
        stream.on("end", () => {
          if (drops-- > 0) for (const socket of server.sockets) socket.destroy();
          else callback(null, "kept");
        });
        stream.resume();
      },
    });
    const channel = channelTo(server.port);
    expect(await channel.send([ADA], signal)).toMatchObject([{ kind: "failed" }]);
    expect(await channel.send([ADA], signal)).toEqual([{ kind: "sent" }]);
  });

  test("that is down fails; once it is back, the same channel works", async () => {
    const first = await startServer();
    const channel = channelTo(first.port);
    expect(await channel.send([ADA], signal)).toEqual([{ kind: "sent" }]);
    await first.stop();
    expect(await channel.send([ADA], signal)).toMatchObject([{ kind: "failed" }]);
    const second = await startServer({}, first.port);
    expect(await channel.send([ADA], signal)).toEqual([{ kind: "sent" }]);
    expect(second.mails).toHaveLength(1);
  });
});

describe("a login", () => {
  const login: SMTPServerOptions = {
    authOptional: false,
    allowInsecureAuth: true,
    onAuth({ username, password }, _session, callback) {
      if (username === "shop" && password === "right") callback(null, { user: username });
      else callback(new ReplyError(535, "who are you"));
    },
  };

  test("that is right is let in", async () => {
    const { port } = await startServer(login);
    const channel = channelTo(port, { user: "shop", password: "right" });
    expect(await channel.send([ADA], signal)).toEqual([{ kind: "sent" }]);
  });

  test("that is wrong or missing loses no message and shows no password", async () => {
    const { port } = await startServer(login);
    const [wrong] = await channelTo(port, { user: "shop", password: "wr0ng" }).send([ADA], signal);
    expect(wrong?.kind).toBe("failed");
    expect(JSON.stringify(wrong)).not.toContain("wr0ng");
    const [missing] = await channelTo(port).send([ADA], signal);
    expect(missing?.kind).toBe("failed");
  });
});

describe("encryption", () => {
  test("is not given up where the server has none", async () => {
    const { mails, port } = await startServer();
    expect(await channelTo(port, { tls: "starttls" }).send([ADA], signal)).toMatchObject([
      { kind: "failed" },
    ]);
    expect(mails).toEqual([]);
  });

  test("with a certificate that nobody vouches for is refused", async () => {
    const { mails, port } = await startServer({ disabledCommands: [] });
    expect(await channelTo(port, { tls: "starttls" }).send([ADA], signal)).toMatchObject([
      { kind: "failed" },
    ]);
    expect(mails).toEqual([]);
  });

  test("refuses a file of authorities that is not there", () => {
    const openIt = () => channelTo(25, { tls: "tls", caFile: "nowhere.pem" });
    expect(openIt).toThrow("notification.smtp.caFile cannot be read");
  });

  test.skipIf(Bun.which("openssl") === null)(
    "with a certificate of a known authority works, both ways",
    async () => {
      const directory = mkdtempSync(join(tmpdir(), "shop-smtp-"));
      open.push(() => rmSync(directory, { recursive: true }));
      const [keyFile, caFile] = [join(directory, "key.pem"), join(directory, "cert.pem")];
      const made = Bun.spawnSync(
        `openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost
         -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout ${keyFile} -out ${caFile}`
          .trim()
          .split(/\s+/),
      );
      expect(made.exitCode).toBe(0);
      const own = { key: readFileSync(keyFile), cert: readFileSync(caFile) };
      for (const [tls, options] of [
        ["starttls", { disabledCommands: [] }],
        ["tls", { secure: true }],
      ] as const) {
        const { mails, port } = await startServer({ ...own, ...options, disabledCommands: [] });
        const channel = channelTo(port, { tls, caFile });
        expect(await channel.send([ADA], signal)).toEqual([{ kind: "sent" }]);
        expect(mails).toHaveLength(1);
      }
    },
  );
});
