/**
 * The door of the library: everything a user of the runtime needs, and nothing it keeps to itself.
 *
 * What is not exported here may change without notice. Layers above may import single files for
 * the sake of shorter paths; code outside of this repository imports this one. The guide, with the
 * guarantees and the tests that prove them, is `README.md` beside this file.
 */

// Time, chance and identity: the system's, and one that a test owns.
export type { Environment, Timer } from "./environment.ts";
export type { VirtualEnvironment } from "./virtual-environment.ts";
export { systemEnvironment } from "./system-environment.ts";
export { createVirtualEnvironment } from "./virtual-environment.ts";

// The two kinds of failure.
export type { ErrorCode, Retry } from "./errors.ts";
export { assert, describeError, InvariantError, isShopError, ShopError } from "./errors.ts";

// Actors.
export type {
  ActorContext,
  ActorDefinition,
  ActorRef,
  AskOptions,
  BatchBehavior,
  Behavior,
  LifecycleHooks,
  MailboxOptions,
  OverflowPolicy,
  Recipient,
  SingleBehavior,
  SpawnOptions,
  TellResult,
} from "./actors/actor.ts";
export type { ActorChild, ActorChildOptions } from "./actors/actor-child.ts";
export type { ActorSystem, ActorSystemOptions, ActorSystemStats } from "./actors/actor-system.ts";
export type {
  EntityRegion,
  EntityRegionOptions,
  EntityRegionStats,
  RegionTellResult,
} from "./actors/entity-region.ts";
export type { Undelivered, UndeliveredCounts, UndeliveredReason } from "./actors/undelivered.ts";
export { defineActor } from "./actors/actor.ts";
export { actorChild } from "./actors/actor-child.ts";
export { ActorFailure } from "./actors/actor-failure.ts";
export { createActorSystem } from "./actors/actor-system.ts";
export { createEntityRegion } from "./actors/entity-region.ts";

// Supervision.
export type {
  Backoff,
  ChildSpec,
  Exit,
  RestartType,
  RunningChild,
  Strategy,
  SupervisorSpec,
} from "./supervision/child.ts";
export type { SupervisorChildOptions } from "./supervision/supervision-tree.ts";
export type {
  ChildCounts,
  ChildInfo,
  DeleteAnswer,
  RestartAnswer,
  Supervisor,
  SupervisorEvent,
  SupervisorOptions,
} from "./supervision/supervisor.ts";
export {
  EXIT_CODE_GAVE_UP,
  superviseRoot,
  supervisorChild,
} from "./supervision/supervision-tree.ts";
export { startSupervisor } from "./supervision/supervisor.ts";

// Threads: supervised workers, joined by rings in shared memory.
export type {
  ListenOptions,
  MeshLink,
  MeshMemory,
  MeshNodeOptions,
  OnRecord,
} from "./threads/mesh.ts";
export type { RunningThread, ThreadChildOptions } from "./threads/thread-child.ts";
export type { StartedThread, ThreadOptions } from "./threads/thread-entry.ts";
export { createHeartbeats } from "./threads/heartbeat.ts";
export { createMeshMemory, MeshNode } from "./threads/mesh.ts";
export { RingReader, RingWriter } from "./threads/ring.ts";
export { createRing, resetRing } from "./threads/ring-layout.ts";
export { SettleWindow } from "./threads/settle-window.ts";
export { threadChild, ThreadFailure } from "./threads/thread-child.ts";
export { runThread } from "./threads/thread-entry.ts";

// Metrics that all threads count in one shared page.
export type {
  CounterLayout,
  CounterSpec,
  GaugeSpec,
  HistogramSpec,
  Labels,
  MetricSpec,
} from "./threads/counter-layout.ts";
export type { Counter, Gauge, Histogram, Sample } from "./threads/counter-page.ts";
export { crossLabels, defineMetrics } from "./threads/counter-layout.ts";
export { CounterWriter, createCounterPage, readCounterPage } from "./threads/counter-page.ts";

// Frames: messages as bytes, and where their key lives.
export type { Frame, FrameFault, FrameHeader, FrameInput } from "./frames/frame-header.ts";
export {
  checkFrame,
  decodeFrame,
  encodeFrame,
  encodeFrameInto,
  frameAttempt,
  frameBytesBound,
  frameDeadlineMs,
  frameFlags,
  frameHeader,
  frameHeaders,
  frameId,
  frameKey,
  framePayload,
  frameSlot,
  frameSpanId,
  frameTimeMs,
  frameTraceId,
  frameType,
  peekFrame,
} from "./frames/frame.ts";
export { FLAG_JSON, FRAME_HEADER_BYTES, FRAME_VERSION } from "./frames/frame-header.ts";
export { murmur2, slotOf } from "./frames/murmur2.ts";
export { FRAME_BYTES_MAX, RING_BYTES_DEFAULT, SLOTS_DEFAULT } from "./limits.ts";
