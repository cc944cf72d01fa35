-- A chunk that is as it was is not written: that would insert it into the vector index once more.
INSERT INTO {partition} AS known (space, event_id, chunk, tenant, text, embedding)
SELECT {space}, given.*
FROM unnest($1::text[], $2::integer[], $3::text[], $4::text[], $5::halfvec[])
    AS given (event_id, chunk, tenant, text, embedding)
ON CONFLICT (space, event_id, chunk) DO UPDATE SET
    tenant = excluded.tenant,
    text = excluded.text,
    embedding = excluded.embedding
WHERE known.tenant IS DISTINCT FROM excluded.tenant
   OR known.text <> excluded.text
   OR known.embedding <> excluded.embedding
