-- The vector spaces of stores: each row has a partition of its own in the table `relation`, called <relation>_<id>.
CREATE TABLE eventmill_vector_space (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation   text NOT NULL,
    store      text NOT NULL,
    space      text NOT NULL,
    dimensions integer NOT NULL CHECK (dimensions > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (relation, store, space)
);
COMMENT ON TABLE eventmill_vector_space IS
    'Which partition holds the vectors of which store and vector space';

-- The guard: what is stored for an event, and from where. Narrow, so that replays never touch a vector or its index.
-- No foreign key: its check would lock the one row of the space in every write.
CREATE TABLE eventmill_vector_source (
    space       integer NOT NULL,
    event_id    text COLLATE "C" NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    "offset"    bigint NOT NULL,
    text_hash   bytea NOT NULL,
    vector_hash bytea NOT NULL,
    changed     boolean NOT NULL,
    PRIMARY KEY (space, event_id)
) WITH (fillfactor = 80);
COMMENT ON COLUMN eventmill_vector_source.changed IS
    'Whether the newest write brought other texts or vectors than the one before';
