"""The demonstration: example mails through all stages, from nothing to results, costs and dead letters."""
