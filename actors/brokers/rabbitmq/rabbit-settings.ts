/**
 * Settings of the RabbitMQ adapter, and the bounds that are no settings.
 *
 * A plain value that can be cloned between threads. It refuses nothing itself: the configuration
 * checks ranges, and `openRabbitBroker` what only the server can know.
 */

export interface RabbitSettings {
  /** `amqp://user:password@host:port/vhost`, or `amqps://`. */
  readonly url: string;
  /** Names of exchanges and queues begin with it. */
  readonly prefix: string;
  /**
   * Groups that are going to read, by topic. Their queues are made before the first frame: RabbitMQ
   * keeps a frame for those groups only that had a queue when it came.
   */
  readonly groups: Readonly<Record<string, readonly string[]>>;
  /** Silence after which either side gives up the connection, about twice as long. */
  readonly heartbeatMs: number;
  /** Most frames of one partition that the server sends ahead of their acknowledgements. */
  readonly prefetchFrames: number;
  /** Most frames, and bytes, that were sent and not yet confirmed. */
  readonly confirmWindowFrames: number;
  readonly confirmWindowBytes: number;
  /** Most frames, and bytes, that wait for the window; above: `SATURATED`. */
  readonly waitingFramesMax: number;
  readonly waitingBytesMax: number;
  /** Under traffic frames wait so long for others, to go out together; 0: they never wait. */
  readonly publishGatherMs: number;
  /** What was settled and nobody waits for is told to the server within this time. */
  readonly ackGatherMs: number;
  /** From `publish` to its answer, whatever the server does. */
  readonly publishTimeoutMs: number;
  /** A server that takes nothing because its disk or memory is full is waited for so long. */
  readonly fullWaitMs: number;
  /** A member that is connected and of which nothing is heard is counted out after so long. */
  readonly memberTimeoutMs: number;
  /** A new member listens so long for others before it asks the server for partitions. */
  readonly joinWindowMs: number;
  /** A partition that goes to another member waits so long for what is in hand of it. */
  readonly handOverMs: number;
  /** A frame that was given out so often without being settled goes to the dead letters. */
  readonly deliveryLimit: number;
  /** Most frames in the queue of one partition of one group; above: `STORAGE_FULL`. */
  readonly queueFramesMax: number;
  /** Dead letters kept of one topic; above, the oldest go. At most `KEPT_MESSAGES_MAX`. */
  readonly deadLettersMax: number;
  readonly reconnectMaxMs: number;
}

const MIB = 1_024 * 1_024;

export const RABBIT_SETTINGS: RabbitSettings = {
  url: "amqp://guest:guest@127.0.0.1:5672",
  prefix: "shopstream.",
  groups: {},
  heartbeatMs: 5_000,
  prefetchFrames: 256,
  confirmWindowFrames: 1_024,
  confirmWindowBytes: 16 * MIB,
  waitingFramesMax: 100_000,
  waitingBytesMax: 32 * MIB,
  publishGatherMs: 25,
  ackGatherMs: 200,
  publishTimeoutMs: 15_000,
  fullWaitMs: 500,
  memberTimeoutMs: 10_000,
  joinWindowMs: 250,
  handOverMs: 15_000,
  deliveryLimit: 100,
  queueFramesMax: 10_000_000,
  deadLettersMax: 50_000,
  reconnectMaxMs: 5_000,
};

/** `openRabbitBroker` says what is wrong within this time. */
export const OPEN_TIMEOUT_MS = 9_000;
/** Making the queues of every group, which is part of opening, may take longer. */
export const DECLARE_TIMEOUT_MS = 60_000;
/** For an answer to something small. */
export const ANSWER_TIMEOUT_MS = 5_000;
/** So long a server is waited for that answers and whose queues are not there yet. */
export const RETURN_TIMEOUT_MS = 30_000;
/** Queues that are being made at a time. */
export const DECLARATIONS_MAX = 8;
/** Channels that a connection has at most by the server's default, less some of our own. */
export const PARTITIONS_PER_MEMBER_MAX = 2_000;
/**
 * A server that is killed within about a second of making a quorum queue forgets where its log is,
 * and the queue takes nothing ever after. What is new is left alone until it is on disk.
 */
export const NEW_QUEUE_WAIT_MS = 1_500;
/** The server hands out no more without acknowledgements, and a kept queue is read without. */
export const KEPT_MESSAGES_MAX = 60_000;
/** Retries and burials that a group remembers; above, the oldest go. */
export const MEMORY_ENTRIES_MAX = 20_000;
export const MEMORY_AGE_MAX_MS = 24 * 3_600_000;
