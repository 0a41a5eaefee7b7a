/**
 * Where the threads of a shop are in the mesh, which rings join them, and what a shard is told.
 *
 * Plain values; starting anything is the business of `shop.ts`.
 */

import type { Group } from "../actors/contracts/topics.ts";
import type { ShardSettings } from "../actors/shard-services.ts";
import type { MeshLink } from "../runtime/threads/mesh.ts";
import type { ShopConfig } from "./config/config-schema.ts";

/** Indices in the mesh. */
export const GATEWAY = 0;
export const JOURNAL = 1;
export const FIRST_SHARD = 2;

const COMMAND_RING_BYTES = 4 * 1024 * 1024;
const JOURNAL_RING_BYTES = 16 * 1024 * 1024;
/** A ring each way between every shard and the gateway, and every shard and the journal. */
export function linksOf(shards: number): readonly MeshLink[] {
  const links: MeshLink[] = [];
  for (let index = 0; index < shards; index++) {
    const shard = FIRST_SHARD + index;
    links.push(
      { from: GATEWAY, to: shard, ringBytes: COMMAND_RING_BYTES },
      { from: shard, to: GATEWAY, ringBytes: COMMAND_RING_BYTES },
      { from: shard, to: JOURNAL, ringBytes: JOURNAL_RING_BYTES },
      { from: JOURNAL, to: shard, ringBytes: JOURNAL_RING_BYTES },
    );
  }
  return links;
}

/** The part of the configuration that a shard needs. */
export function settingsOf(config: ShopConfig): ShardSettings {
  const roles: readonly Group[] = config.roles;
  return {
    slots: config.slots,
    roles,
    residentMax: config.limits.residentMax,
    mailboxMax: config.limits.mailboxMax,
    payment: config.payment,
    reservationTtlMs: config.inventory.reservationTtlMs,
    shipping: config.shipping,
  };
}
