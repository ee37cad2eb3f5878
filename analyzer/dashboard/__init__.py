"""`analyzer dashboard`: a live page for people. Read in this order: reader, cache, system, market, page, server."""
