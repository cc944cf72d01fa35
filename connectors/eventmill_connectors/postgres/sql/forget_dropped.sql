-- A partition that somebody dropped: what its events had is not there any more, and must not be taken for known.
WITH gone AS (
    DELETE FROM eventmill_vector_space
    WHERE relation = $1 AND store = $2 AND space = $3 AND to_regclass(quote_ident(relation || '_' || id)) IS NULL
    RETURNING id
)
DELETE FROM eventmill_vector_source USING gone WHERE eventmill_vector_source.space = gone.id
