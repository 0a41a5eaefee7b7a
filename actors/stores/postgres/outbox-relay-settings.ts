/**
 * Bounds of what a relay publishes at once and holds in memory, for each broker.
 *
 * What goes beyond them is not refused: it waits in the table.
 */

export interface RelayLaneSettings {
  /** Frames and bytes of one publication. */
  readonly batchFramesMax: number;
  readonly batchBytesMax: number;
  /**
   * Frames and bytes of one broker in memory; what is beyond is read back from the table. Topics on
   * lines of their own have as much again between them.
   */
  readonly memoryFramesMax: number;
  readonly memoryBytesMax: number;
  /** A publication that is not confirmed by then has failed, as far as anybody here can know. */
  readonly publishTimeoutMs: number;
}

export const RELAY_LANE_SETTINGS: RelayLaneSettings = {
  batchFramesMax: 1_000,
  batchBytesMax: 1_048_576,
  memoryFramesMax: 20_000,
  memoryBytesMax: 16 * 1_048_576,
  publishTimeoutMs: 10_000,
};
