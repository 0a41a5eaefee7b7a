/**
 * The frame around every endpoint: admission, correlation id, problems, counting.
 *
 * Refuses a request before any work when too many are in flight or the stop has begun. Whatever an
 * endpoint returns or throws leaves as a response with the correlation id; an unexpected error
 * leaves as a bare 500.
 */

import type { Environment } from "../../runtime/environment.ts";
import type { RouteCounters } from "./http-counters.ts";
import { Problem, PROBLEM_MEDIA_TYPE, retryLater } from "./problem.ts";
import { CORRELATION_HEADER, correlationIdOf } from "./request-trace.ts";
import { describe, problemOfError, saturated } from "./shop-problems.ts";

export type Method = "GET" | "POST" | "PUT";
export type Params = Readonly<Record<string, string | null>>;

/** One request on its way through an endpoint. */
export interface Call {
  readonly request: Request;
  /** Decoded path parameters; `null` where the escape was broken. */
  readonly params: Params;
  readonly correlationId: string;
}

export type Answer = Response | Problem;
export type Endpoint = (call: Call) => Promise<Answer> | Answer;

export interface Route {
  readonly method: Method;
  /** With `:name` for parameters. */
  readonly path: string;
  /** `always`: served when saturated and while stopping too (probes, metrics, documents). */
  readonly admission: "limited" | "always";
  readonly endpoint: Endpoint;
  /** The OpenAPI operation; absent: not part of the documented API. */
  readonly operation?: Readonly<Record<string, unknown>>;
}

export interface DoorDeps {
  readonly environment: Environment;
  readonly inFlightMax: number;
  readonly onFailure?: (error: unknown, correlationId: string) => void;
}

/** Counts who is inside and lets no more in than allowed. */
export interface Door {
  /** Never rejects. */
  serve(route: Route, counters: RouteCounters, request: Request, params: Params): Promise<Response>;
  /** An answer for a request that no endpoint took. */
  refuse(request: Request, problem: Problem): Response;
  /** Lets out a response that no endpoint made. */
  pass(request: Request, response: Response): Response;
  inFlight(): number;
  /** From now on only `always` routes are served. */
  close(): void;
}

export function createDoor(deps: DoorDeps): Door {
  const { environment, inFlightMax, onFailure } = deps;
  let inFlight = 0;
  let closed = false;

  function admit(route: Route): Problem | undefined {
    if (route.admission === "always") return undefined;
    if (closed) return retryLater("not_ready", "the shop is stopping");
    if (inFlight < inFlightMax) return undefined;
    return saturated(`${inFlightMax} requests are in flight`);
  }

  async function answer(route: Route, call: Call): Promise<Answer> {
    const refused = admit(route) ?? checkParams(call.params);
    if (refused !== undefined) return refused;
    inFlight++;
    try {
      return await route.endpoint(call);
    } catch (error) {
      // Nobody is there to be answered, and nothing is wrong with us.
      if (call.request.signal.aborted) return new Problem("malformed_request", "broken off");
      const problem = problemOfError(error);
      if (problem === undefined) onFailure?.(error, call.correlationId);
      return problem ?? describe("internal");
    } finally {
      inFlight--;
    }
  }

  return {
    async serve(route, counters, request, params) {
      const startMs = environment.monotonicMs();
      const correlationId = correlationIdOf(request, environment);
      const answered = await answer(route, { request, params, correlationId });
      const response = finish(answered, request, correlationId);
      counters.count(response.status, environment.monotonicMs() - startMs);
      return response;
    },
    refuse: (request, problem) => finish(problem, request, correlationIdOf(request, environment)),
    pass: (request, response) => finish(response, request, correlationIdOf(request, environment)),
    inFlight: () => inFlight,
    close: () => void (closed = true),
  };
}

/** A JSON response; `headers` in lower case. */
export function jsonResponse(
  status: number,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(body, {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}

function checkParams(params: Params): Problem | undefined {
  for (const name in params) {
    if (params[name] === null) {
      const errors = [{ parameter: name, detail: "is not a valid percent-encoding of UTF-8" }];
      return new Problem("malformed_request", "the path cannot be decoded", { errors });
    }
  }
  return undefined;
}

function finish(answer: Answer, request: Request, correlationId: string): Response {
  if (answer instanceof Problem) return problemResponse(answer, request, correlationId);
  answer.headers.set(CORRELATION_HEADER, correlationId);
  return answer;
}

function problemResponse(problem: Problem, request: Request, correlationId: string): Response {
  const instance = new URL(request.url).pathname;
  return new Response(JSON.stringify(problem.toJson(instance, correlationId)), {
    status: problem.status,
    headers: {
      ...problem.headers,
      "content-type": PROBLEM_MEDIA_TYPE,
      [CORRELATION_HEADER]: correlationId,
    },
  });
}
