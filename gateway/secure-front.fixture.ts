/**
 * A search server behind a front that speaks TLS and asks for a user and a password: what people
 * put before one that has no security of its own, as the distribution that is installed has none.
 *
 * Only for tests. Passes on whole requests and whole answers; refuses with 401, as the server's own
 * security does.
 */

import type { ServiceCertificate } from "../deploy/services/recipe.ts";

export interface SecureFront {
  /** `127.0.0.1:port` */
  readonly address: string;
  close(): Promise<void>;
}

export interface Login {
  readonly user: string;
  readonly password: string;
}

const REFUSAL = { error: { type: "security_exception", reason: "unable to authenticate user" } };

/** Before what listens at `behind`, a `host:port`. */
export function startSecureFront(
  behind: string,
  { certificatePath, keyPath }: ServiceCertificate,
  { user, password }: Login,
): SecureFront {
  const wanted = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  const front = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: Bun.file(certificatePath), key: Bun.file(keyPath) },
    async fetch(request) {
      if (request.headers.get("authorization") !== wanted) {
        return Response.json(REFUSAL, { status: 401 });
      }
      const { pathname, search } = new URL(request.url);
      const headers = new Headers(request.headers);
      headers.delete("authorization");
      const body = await request.arrayBuffer();
      const answer = await fetch(`http://${behind}${pathname}${search}`, {
        method: request.method,
        headers,
        // The search server reads bodies of GET requests; `fetch` sends none.
        ...(body.byteLength === 0 ? {} : { body }),
        decompress: false,
      });
      return new Response(answer.body, { status: answer.status, headers: answer.headers });
    },
  });
  return { address: `127.0.0.1:${front.port}`, close: () => front.stop(true) };
}
