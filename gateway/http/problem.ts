/**
 * Every error of the API, as RFC 9457 problem details.
 *
 * One closed list of problems gives type, title and status; a `Problem` adds what happened here.
 * It never carries a stack, the text of a caught error, or the body that caused it.
 */

const KINDS = {
  malformed_request: [400, "The request cannot be read"],
  malformed_json: [400, "The body is not acceptable JSON"],
  malformed_cursor: [400, "The cursor is not one this API gave out"],
  not_found: [404, "There is no such resource"],
  method_not_allowed: [405, "The resource does not know this method"],
  not_cancellable: [409, "The order can no longer be cancelled"],
  not_redrivable: [409, "The dead letter cannot be put back"],
  stale_version: [412, "The resource has changed since it was read"],
  body_too_large: [413, "The body is too large"],
  unsupported_media_type: [415, "The body must be application/json"],
  invalid_request: [422, "The request does not fit its schema"],
  idempotency_mismatch: [422, "The idempotency key was used with another body"],
  version_required: [428, "The request must say which version it changes"],
  internal: [500, "Something went wrong on our side"],
  saturated: [503, "The shop is saturated"],
  unavailable: [503, "The shop cannot take this now"],
  not_ready: [503, "The shop is not ready"],
  timed_out: [504, "The shop did not answer in time"],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type ProblemKind = keyof typeof KINDS;

export const PROBLEM_MEDIA_TYPE = "application/problem+json";

/** Seconds after which a refused request may be sent again. */
export const RETRY_AFTER_S = 1;

/** Where a request does not fit: a pointer into the body, or the name of a parameter or header. */
export interface ProblemPart {
  /** RFC 6901, as a URI fragment: `#/items/0/price`. */
  readonly pointer?: string;
  readonly parameter?: string;
  readonly header?: string;
  readonly detail: string;
}

export interface ProblemExtras {
  readonly errors?: readonly ProblemPart[];
  readonly headers?: Readonly<Record<string, string>>;
}

/** A refusal on its way to the client. A value, not an exception. */
export class Problem {
  readonly kind: ProblemKind;
  readonly detail: string;
  readonly errors: readonly ProblemPart[];
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    kind: ProblemKind,
    detail: string,
    { errors = [], headers = {} }: ProblemExtras = {},
  ) {
    this.kind = kind;
    this.detail = detail;
    this.errors = errors;
    this.headers = headers;
  }

  get status(): number {
    return KINDS[this.kind][0];
  }

  /** The members of RFC 9457, with `correlationId` and `errors` as extensions. */
  toJson(instance: string, correlationId: string): object {
    return {
      type: `urn:shopstream:problem:${this.kind.replaceAll("_", "-")}`,
      title: KINDS[this.kind][1],
      status: this.status,
      detail: this.detail,
      instance,
      correlationId,
      ...(this.errors.length === 0 ? {} : { errors: this.errors }),
    };
  }
}

/** A problem to be answered with `Retry-After`. */
export function retryLater(kind: "saturated" | "unavailable" | "not_ready", detail: string) {
  return new Problem(kind, detail, { headers: { "retry-after": String(RETRY_AFTER_S) } });
}

/** The pointer of `path` (`/items/0/price`, already escaped) as a URI fragment. */
export function bodyPointer(path: string): string {
  return `#${encodeURI(path)}`;
}
