SELECT found.event_id, found.chunk, found.text, found.similarity, source.topic, source.partition, source."offset"
FROM (
    SELECT event_id, chunk, text, -(embedding::halfvec({dimensions}) <#> $1::halfvec({dimensions})) AS similarity
    FROM {partition}
    WHERE event_id IS DISTINCT FROM $2 AND {tenant}
    ORDER BY embedding::halfvec({dimensions}) <#> $1::halfvec({dimensions})
    LIMIT $3
) AS found
JOIN eventmill_vector_source AS source ON source.space = {space} AND source.event_id = found.event_id
ORDER BY found.similarity DESC, found.event_id, found.chunk
