SELECT count(*) FROM (SELECT 1 FROM {partition} LIMIT {most}) AS counted
