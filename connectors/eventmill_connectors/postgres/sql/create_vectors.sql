-- The vector has no fixed length here, because a partition must have its parent's types: each partition checks its own.
CREATE TABLE IF NOT EXISTS {relation} (
    space     integer NOT NULL,
    event_id  text COLLATE "C" NOT NULL,
    chunk     integer NOT NULL,
    tenant    text,
    text      text NOT NULL,
    embedding halfvec NOT NULL,
    PRIMARY KEY (space, event_id, chunk)
) PARTITION BY LIST (space)
