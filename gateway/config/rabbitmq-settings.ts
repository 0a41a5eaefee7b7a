/**
 * Settings of the RabbitMQ adapter: where the server is, what it keeps, and every bound of it.
 *
 * Ranges are checked here; what only the server can know is found out when it is opened. The names
 * are those of `RabbitSettings`, so that the section is handed on as it is.
 */

import { Type } from "@sinclair/typebox";

import {
  KEPT_MESSAGES_MAX,
  RABBIT_SETTINGS,
} from "../../actors/brokers/rabbitmq/rabbit-settings.ts";
import { GIB, group, HOUR_MS, integer, KIB, MINUTE_MS, text } from "./setting-types.ts";

const initial = RABBIT_SETTINGS;
const GROUPS_MAX = 64;
const FRAMES_MAX = 1_000_000_000;

export const RabbitmqGroup = group({
  url: text(initial.url, "amqp://user:password@host:port/vhost, or amqps://"),
  prefix: text(initial.prefix, "exchanges and queues have names that begin with it"),
  groups: Type.Record(
    Type.String({ minLength: 1, maxLength: 128 }),
    Type.Array(Type.String({ minLength: 1, maxLength: 128 }), { maxItems: GROUPS_MAX }),
    {
      default: {},
      description: "groups of each topic that get frames from before they first subscribe",
    },
  ),
  heartbeatMs: integer(1_000, MINUTE_MS, initial.heartbeatMs, "a silent connection ends after two"),
  prefetchFrames: integer(1, 10_000, initial.prefetchFrames, "unacknowledged frames per partition"),
  confirmWindowFrames: integer(1, 65_536, initial.confirmWindowFrames, "sent, not confirmed"),
  confirmWindowBytes: integer(64 * KIB, GIB, initial.confirmWindowBytes, "sent, not confirmed"),
  waitingFramesMax: integer(1, 10_000_000, initial.waitingFramesMax, "frames before the window"),
  waitingBytesMax: integer(64 * KIB, 4 * GIB, initial.waitingBytesMax, "bytes before the window"),
  publishGatherMs: integer(0, 1_000, initial.publishGatherMs, "under traffic frames go together"),
  ackGatherMs: integer(0, 1_000, initial.ackGatherMs, "what was settled is told within this time"),
  publishTimeoutMs: integer(100, HOUR_MS, initial.publishTimeoutMs, "from a publish to its answer"),
  fullWaitMs: integer(0, MINUTE_MS, initial.fullWaitMs, "a full server is waited for so long"),
  memberTimeoutMs: integer(
    3_000,
    HOUR_MS,
    initial.memberTimeoutMs,
    "a member that is connected and silent is counted out after this",
  ),
  joinWindowMs: integer(
    10,
    MINUTE_MS,
    initial.joinWindowMs,
    "a new member listens before it takes",
  ),
  handOverMs: integer(
    0,
    HOUR_MS,
    initial.handOverMs,
    "a partition that moves waits so long for what is in hand",
  ),
  deliveryLimit: integer(
    5,
    10_000,
    initial.deliveryLimit,
    "a frame given out so often without being settled goes to the dead letters",
  ),
  queueFramesMax: integer(1_000, FRAMES_MAX, initial.queueFramesMax, "frames in one queue"),
  deadLettersMax: integer(
    100,
    KEPT_MESSAGES_MAX,
    initial.deadLettersMax,
    "dead letters kept of one topic; above, the oldest go",
  ),
  reconnectMaxMs: integer(100, 5_000, initial.reconnectMaxMs, "longest pause between attempts"),
});
