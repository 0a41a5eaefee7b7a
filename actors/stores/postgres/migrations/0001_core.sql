-- migrate:up

-- Times are whole milliseconds since the epoch, as everywhere in the house. Texts compare byte by
-- byte (COLLATE "C"): keys sort the same on every server and their indexes outlive its upgrades.

CREATE TABLE meta (
  name text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

-- Fillfactor 80: room on the page, so that an update that touches no index stays on it (HOT).
CREATE TABLE orders (
  key text COLLATE "C" PRIMARY KEY,
  version bigint NOT NULL,
  data bytea NOT NULL,
  customer_id text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX orders_created ON orders (created_at, key);
CREATE INDEX orders_customer ON orders (customer_id, created_at, key);
CREATE INDEX orders_status ON orders (status, created_at, key);

CREATE TABLE payments (
  key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL
) WITH (fillfactor = 80);

-- The few rows that everybody updates: half of each page is room for the next versions.
CREATE TABLE stock (
  key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL
) WITH (
  fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE reservations (
  key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE shipments (
  key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE idempotency (
  key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL,
  written_at bigint NOT NULL
);
CREATE INDEX idempotency_written ON idempotency (written_at);

-- `written_at` is the beginning of a day, so that its index is touched once a day.
CREATE TABLE fraud (
  key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL,
  written_at bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX fraud_written ON fraud (written_at);

CREATE TABLE notifications (
  key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, data bytea NOT NULL
) WITH (fillfactor = 80);

CREATE TABLE timeline (
  order_id text COLLATE "C" NOT NULL,
  version bigint NOT NULL,
  type text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (order_id, version)
);

-- Which messages a group has processed. Rows arrive in order of time, so the smallest of all
-- indexes is enough to find the old ones.
CREATE TABLE inbox (
  grp text COLLATE "C" NOT NULL,
  message_id uuid NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (grp, message_id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX inbox_at ON inbox USING brin (at) WITH (pages_per_range = 16, autosummarize = on);

-- A queue: every row is inserted, read and deleted within moments. It is vacuumed by number of
-- dead rows, not by share, and without pauses; frames are never compressed, they leave at once.
CREATE TABLE outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  relay uuid NOT NULL,
  slot integer NOT NULL,
  topic text COLLATE "C" NOT NULL,
  frame bytea NOT NULL
) WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 200000
);
ALTER TABLE outbox ALTER COLUMN frame SET STORAGE EXTERNAL;

CREATE TABLE timers (
  id text COLLATE "C" PRIMARY KEY,
  due_at bigint NOT NULL,
  slot integer NOT NULL,
  topic text COLLATE "C" NOT NULL,
  frame bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE timers ALTER COLUMN frame SET STORAGE EXTERNAL;
CREATE INDEX timers_due ON timers (due_at);

-- The key carries what letters are picked by: picking reads the bytes of no other letter.
-- `identity` names the delivery that was given up on, so that a second burial of it is none.
CREATE TABLE dead_letters (
  id bigint GENERATED ALWAYS AS IDENTITY,
  grp text COLLATE "C" NOT NULL,
  topic text COLLATE "C" NOT NULL,
  partition integer NOT NULL,
  sequence bigint NOT NULL,
  identity text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  attempts integer NOT NULL,
  first_error text NOT NULL,
  last_error text NOT NULL,
  buried_at bigint NOT NULL,
  bytes bytea NOT NULL,
  PRIMARY KEY (id) INCLUDE (topic, grp, reason, partition, buried_at),
  UNIQUE (grp, topic, identity)
);

-- Where each writer stands: the number of its last batch. It decides what became of a commit
-- whose answer was lost. Updated once a batch, on its own page.
CREATE TABLE writers (
  id uuid PRIMARY KEY,
  batch bigint NOT NULL,
  at bigint NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- One batch of units of work, all or nothing, in one statement and so in one round trip.
--
-- The caller has decided what each unit becomes, from what it assumes or has read; every
-- assumption is checked here by writing: a row at another version, a mark or an entry that is
-- there, a letter that is gone raise SS001 (or 23505), and nothing was written. SS002: the relay
-- was fenced. SS003: this batch has been decided already. Arrays are sorted by key: all writers
-- lock in one order. `bounds` holds, for each table in the order of its statements below, the end
-- of its inserts and the end of its updates in `row_*`.
--
-- The planner settings keep the plans as they must be (index by key, in the order of the arrays)
-- while tables are new and nothing is known of them.
CREATE FUNCTION commit_units(
  writer uuid, batch_number bigint, relay_id uuid, now_ms bigint, day_ms bigint,
  mark_groups text[], mark_ids uuid[], letter_ids bigint[],
  bounds integer[], row_keys text[], row_olds bigint[], row_news bigint[], row_datas bytea[],
  order_customers text[], order_statuses text[], order_created bigint[],
  entry_orders text[], entry_versions bigint[], entry_types text[], entry_ats bigint[],
  entry_datas bytea[],
  timers_ended text[], timer_ids text[], timer_dues bigint[], timer_slots integer[],
  timer_topics text[], timer_frames bytea[],
  out_slots integer[], out_topics text[], out_frames bytea[]
) RETURNS bigint[] LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $body$
DECLARE
  a integer := 1;
  b integer;
  changed bigint;
  ids bigint[];
BEGIN
  UPDATE writers SET batch = batch_number, at = now_ms
    WHERE id = writer AND batch = batch_number - 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'batch % was decided already', batch_number USING ERRCODE = 'SS003';
  END IF;
  IF relay_id IS NOT NULL THEN
    PERFORM 1 FROM relays WHERE id = relay_id AND NOT fenced FOR SHARE;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'relay % is fenced', relay_id USING ERRCODE = 'SS002';
    END IF;
  END IF;

  IF cardinality(mark_ids) > 0 THEN
    INSERT INTO inbox (grp, message_id, at)
      SELECT u.g, u.m, now_ms FROM unnest(mark_groups, mark_ids) AS u (g, m);
  END IF;
  IF cardinality(letter_ids) > 0 THEN
    DELETE FROM dead_letters USING unnest(letter_ids) AS u (l) WHERE id = u.l;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> cardinality(letter_ids) THEN
      RAISE EXCEPTION 'dead_letters moved' USING ERRCODE = 'SS001';
    END IF;
  END IF;

  b := bounds[1];
  IF b >= a THEN
    INSERT INTO orders (key, version, data, customer_id, status, created_at)
      SELECT * FROM unnest(row_keys[a:b], row_news[a:b], row_datas[a:b],
        order_customers[a:b], order_statuses[a:b], order_created[a:b]);
    a := b + 1;
  END IF;
  b := bounds[2];
  IF b >= a THEN
    UPDATE orders SET version = u.n, data = u.d,
        customer_id = u.c, status = u.s, created_at = u.t
      FROM unnest(row_keys[a:b], row_olds[a:b], row_news[a:b], row_datas[a:b],
        order_customers[a:b], order_statuses[a:b], order_created[a:b])
        AS u (k, o, n, d, c, s, t)
      WHERE key = u.k AND version = u.o;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> b - a + 1 THEN
      RAISE EXCEPTION 'orders moved' USING ERRCODE = 'SS001';
    END IF;
    a := b + 1;
  END IF;

  b := bounds[3];
  IF b >= a THEN
    INSERT INTO payments (key, version, data)
      SELECT u.k, u.n, u.d FROM unnest(row_keys[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, n, d);
    a := b + 1;
  END IF;
  b := bounds[4];
  IF b >= a THEN
    UPDATE payments SET version = u.n, data = u.d
      FROM unnest(row_keys[a:b], row_olds[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, o, n, d)
      WHERE key = u.k AND version = u.o;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> b - a + 1 THEN
      RAISE EXCEPTION 'payments moved' USING ERRCODE = 'SS001';
    END IF;
    a := b + 1;
  END IF;

  b := bounds[5];
  IF b >= a THEN
    INSERT INTO stock (key, version, data)
      SELECT u.k, u.n, u.d FROM unnest(row_keys[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, n, d);
    a := b + 1;
  END IF;
  b := bounds[6];
  IF b >= a THEN
    UPDATE stock SET version = u.n, data = u.d
      FROM unnest(row_keys[a:b], row_olds[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, o, n, d)
      WHERE key = u.k AND version = u.o;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> b - a + 1 THEN
      RAISE EXCEPTION 'stock moved' USING ERRCODE = 'SS001';
    END IF;
    a := b + 1;
  END IF;

  b := bounds[7];
  IF b >= a THEN
    INSERT INTO reservations (key, version, data)
      SELECT u.k, u.n, u.d FROM unnest(row_keys[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, n, d);
    a := b + 1;
  END IF;
  b := bounds[8];
  IF b >= a THEN
    UPDATE reservations SET version = u.n, data = u.d
      FROM unnest(row_keys[a:b], row_olds[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, o, n, d)
      WHERE key = u.k AND version = u.o;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> b - a + 1 THEN
      RAISE EXCEPTION 'reservations moved' USING ERRCODE = 'SS001';
    END IF;
    a := b + 1;
  END IF;

  b := bounds[9];
  IF b >= a THEN
    INSERT INTO shipments (key, version, data)
      SELECT u.k, u.n, u.d FROM unnest(row_keys[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, n, d);
    a := b + 1;
  END IF;
  b := bounds[10];
  IF b >= a THEN
    UPDATE shipments SET version = u.n, data = u.d
      FROM unnest(row_keys[a:b], row_olds[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, o, n, d)
      WHERE key = u.k AND version = u.o;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> b - a + 1 THEN
      RAISE EXCEPTION 'shipments moved' USING ERRCODE = 'SS001';
    END IF;
    a := b + 1;
  END IF;

  b := bounds[11];
  IF b >= a THEN
    INSERT INTO idempotency (key, version, data, written_at)
      SELECT u.k, u.n, u.d, now_ms FROM unnest(row_keys[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, n, d);
    a := b + 1;
  END IF;
  b := bounds[12];
  IF b >= a THEN
    UPDATE idempotency SET version = u.n, data = u.d, written_at = now_ms
      FROM unnest(row_keys[a:b], row_olds[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, o, n, d)
      WHERE key = u.k AND version = u.o;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> b - a + 1 THEN
      RAISE EXCEPTION 'idempotency moved' USING ERRCODE = 'SS001';
    END IF;
    a := b + 1;
  END IF;

  b := bounds[13];
  IF b >= a THEN
    INSERT INTO fraud (key, version, data, written_at)
      SELECT u.k, u.n, u.d, day_ms FROM unnest(row_keys[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, n, d);
    a := b + 1;
  END IF;
  b := bounds[14];
  IF b >= a THEN
    UPDATE fraud SET version = u.n, data = u.d, written_at = day_ms
      FROM unnest(row_keys[a:b], row_olds[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, o, n, d)
      WHERE key = u.k AND version = u.o;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> b - a + 1 THEN
      RAISE EXCEPTION 'fraud moved' USING ERRCODE = 'SS001';
    END IF;
    a := b + 1;
  END IF;

  b := bounds[15];
  IF b >= a THEN
    INSERT INTO notifications (key, version, data)
      SELECT u.k, u.n, u.d FROM unnest(row_keys[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, n, d);
    a := b + 1;
  END IF;
  b := bounds[16];
  IF b >= a THEN
    UPDATE notifications SET version = u.n, data = u.d
      FROM unnest(row_keys[a:b], row_olds[a:b], row_news[a:b], row_datas[a:b])
        AS u (k, o, n, d)
      WHERE key = u.k AND version = u.o;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed <> b - a + 1 THEN
      RAISE EXCEPTION 'notifications moved' USING ERRCODE = 'SS001';
    END IF;
    a := b + 1;
  END IF;

  IF cardinality(entry_orders) > 0 THEN
    INSERT INTO timeline (order_id, version, type, at, data)
      SELECT * FROM unnest(entry_orders, entry_versions, entry_types, entry_ats, entry_datas);
  END IF;
  IF cardinality(timers_ended) > 0 THEN
    DELETE FROM timers USING unnest(timers_ended) AS u (t) WHERE id = u.t;
  END IF;
  IF cardinality(timer_ids) > 0 THEN
    INSERT INTO timers (id, due_at, slot, topic, frame)
      SELECT * FROM unnest(timer_ids, timer_dues, timer_slots, timer_topics, timer_frames)
      ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at, slot = excluded.slot,
        topic = excluded.topic, frame = excluded.frame;
  END IF;

  IF cardinality(out_slots) > 0 THEN
    WITH added AS (
      INSERT INTO outbox (relay, slot, topic, frame)
        SELECT coalesce(relay_id, writer), u.s, u.t, u.f
        FROM unnest(out_slots, out_topics, out_frames) WITH ORDINALITY AS u (s, t, f, n)
        ORDER BY u.n
        RETURNING id)
    SELECT array_agg(id ORDER BY id) INTO ids FROM added;
  END IF;
  RETURN coalesce(ids, '{}');
END
$body$;

-- migrate:down

DROP FUNCTION commit_units;
DROP TABLE writers, dead_letters, timers, outbox, inbox, timeline, notifications, fraud,
  idempotency, shipments, reservations, stock, payments, orders, meta;
