-- Made aside and attached: CREATE TABLE ... PARTITION OF would lock out who works with the other partitions.
CREATE TABLE {partition} (LIKE {relation} INCLUDING ALL);
ALTER TABLE {partition}
    ALTER COLUMN embedding SET STORAGE PLAIN,
    ADD CONSTRAINT own_space CHECK (space = {space}),
    ADD CONSTRAINT own_dimensions CHECK (vector_dims(embedding) = {dimensions});
CREATE INDEX ON {partition} (tenant);
ALTER TABLE {relation} ATTACH PARTITION {partition} FOR VALUES IN ({space})
