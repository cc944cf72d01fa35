"""Running a stage's steps on some events: nothing is published, no consumer group is joined, nothing is committed."""
