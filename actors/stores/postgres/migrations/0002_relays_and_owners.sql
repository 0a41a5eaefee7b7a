-- Who publishes which outgoing frames, and who owns which slot: see shard-lease.ts, slot-fences.ts.

-- migrate:up

-- One row per incarnation of a shard. A commit holds it FOR SHARE; to fence is to update it, which
-- waits for every commit that is under way.
CREATE TABLE relays (
  id uuid PRIMARY KEY,
  process text NOT NULL,
  shard integer NOT NULL,
  fenced boolean NOT NULL DEFAULT false,
  -- Publishes what this one left in the outbox; only of those that are fenced.
  adopter uuid,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  fenced_at timestamptz
) WITH (fillfactor = 50);

-- Apart from relays, so that a beat does not wait for a commit, nor a commit for a beat.
CREATE TABLE relay_beats (
  relay uuid PRIMARY KEY REFERENCES relays (id) ON DELETE CASCADE,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- relay is null once its owner has released the slot.
CREATE TABLE slot_owners (
  grp text NOT NULL,
  slot integer NOT NULL,
  relay uuid,
  PRIMARY KEY (grp, slot)
);

-- migrate:down

DROP TABLE slot_owners;
DROP TABLE relay_beats;
DROP TABLE relays;
