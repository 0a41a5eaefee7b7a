/**
 * Every bound of the actor core, in one place.
 *
 * A bound that is not named here or in an option does not exist: nothing in this folder may grow
 * past one of these. Relations between them are asserted when the module is loaded.
 */

import { assert } from "../errors.ts";

/** User messages one actor holds when its definition and its spawner say nothing. */
export const MAILBOX_CAPACITY_DEFAULT = 1_024;
/** Messages one entity holds when its region's options say nothing. */
export const ENTITY_MAILBOX_CAPACITY_DEFAULT = 256;
/** Largest mailbox that can be asked for. */
export const MAILBOX_CAPACITY_MAX = 1 << 24;
/** Slots a mailbox starts with; it doubles up to its capacity and never shrinks. */
export const RING_SLOTS_MIN = 8;
/** Messages one actor may have set aside, those being replayed included. */
export const STASH_CAPACITY_DEFAULT = 256;
/** Messages one call of a batch handler may get. */
export const BATCH_MAX = 65_536;

export const TIMERS_PER_ACTOR_MAX = 1_024;
export const WATCHES_PER_ACTOR_MAX = 1_024;
export const CHILDREN_PER_ACTOR_MAX = 10_000;
/** Actors of one system, entities included; also the length of the run queue. */
export const ACTORS_MAX = 1 << 22;

/** Messages one actor handles before the next one has its turn. */
export const MESSAGES_PER_TURN_DEFAULT = 128;
/** Turns between two chances for timers and I/O, however fast they are. */
export const TURNS_PER_SLICE_MAX = 1_024;
/** After this long the dispatcher lets timers and I/O have their chance. */
export const SLICE_MS = 4;

export const ASKS_PENDING_MAX_DEFAULT = 65_536;
/** Distinct ask deadlines that keep their timer while nothing waits on it. */
export const ASK_TIMERS_IDLE_MAX = 64;

/** Longest wait for actors or entities to finish when the stopper names none. */
export const STOP_DEADLINE_MS_DEFAULT = 5_000;

assert((RING_SLOTS_MIN & (RING_SLOTS_MIN - 1)) === 0, "RING_SLOTS_MIN must be a power of two");
assert(MAILBOX_CAPACITY_DEFAULT <= MAILBOX_CAPACITY_MAX, "the default mailbox must be allowed");
assert(BATCH_MAX <= MAILBOX_CAPACITY_MAX, "a batch must fit into a mailbox");
