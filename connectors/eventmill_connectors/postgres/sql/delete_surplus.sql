DELETE FROM {partition} AS known
USING unnest($1::text[], $2::integer[]) AS given (event_id, chunks)
WHERE known.space = {space} AND known.event_id = given.event_id AND known.chunk >= given.chunks
