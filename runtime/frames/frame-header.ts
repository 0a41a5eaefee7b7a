/**
 * The shape of a frame, as types and offsets. Encoding and checking live in `frame.ts`.
 *
 * Little-endian, 80 bytes of header, then key (UTF-8), headers, payload:
 *
 *     0        4   5   6    8    10      12       16           32         48      56
 *     ┌────────┬───┬───┬────┬────┬───────┬────────┬────────────┬──────────┬───────┬─────────┐
 *     │ length │ver│flg│type│slot│attempt│checksum│ message id │ trace id │span id│ time ms │
 *     │ u32    │u8 │u8 │u16 │u16 │u16    │u32     │ 16 bytes   │ 16 bytes │8 bytes│ f64     │
 *     └────────┴───┴───┴────┴────┴───────┴────────┴────────────┴──────────┴───────┴─────────┘
 *     64           72          74             76              80
 *     ┌────────────┬───────────┬──────────────┬───────────────┬─────┬─────────┬─────────┐
 *     │ deadline ms│ key bytes │ header bytes │ payload bytes │ key │ headers │ payload │
 *     │ f64, 0=none│ u16       │ u16          │ u32           │     │         │         │
 *     └────────────┴───────────┴──────────────┴───────────────┴─────┴─────────┴─────────┘
 *
 * `length` counts every byte of the frame. `checksum` is CRC-32 (IEEE) over every byte but its own
 * four, so `attempt` and `slot` are covered too. Headers are a run of
 * (u8 name bytes, u16 value bytes, name, value), names unique, order kept.
 */

export const FRAME_VERSION = 1;
export const FRAME_HEADER_BYTES = 80;

/** Payload is JSON text (from a foreign producer); without it, msgpack. */
export const FLAG_JSON = 1;

/** Everything needed to make a frame. */
export interface FrameInput {
  /** Number of the message's type in the application's registry, 0..65535. */
  readonly type: number;
  /** Slot of `key`; also the partition of any keyed topic it is published to. */
  readonly slot: number;
  readonly key: string;
  readonly payload: Uint8Array;
  /** UUIDv7 text. */
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  readonly attempt?: number;
  readonly flags?: number;
  /** Milliseconds since the epoch after which the work is worthless; 0 or absent: none. */
  readonly deadlineMs?: number;
  /** 32 and 16 lower-case hex digits of the W3C trace context; absent: zeros. */
  readonly traceId?: string;
  readonly spanId?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The fixed header, read without touching key, headers or payload. */
export interface FrameHeader {
  readonly frameBytes: number;
  readonly flags: number;
  readonly type: number;
  readonly slot: number;
  readonly attempt: number;
  readonly timeMs: number;
  readonly deadlineMs: number;
}

/**
 * A whole frame, checked. `payload` is a view of the bytes it was decoded from. The fields may be
 * read from there when they are asked for: a spread of a frame copies nothing.
 */
export interface Frame extends FrameHeader {
  readonly id: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly payload: Uint8Array;
}

/** Why bytes are not a frame. */
export type FrameFault =
  | "TRUNCATED"
  | "OVERSIZE"
  | "BAD_LENGTH"
  | "BAD_VERSION"
  | "BAD_CHECKSUM"
  | "BAD_TIME"
  | "BAD_KEY"
  | "BAD_HEADERS";
