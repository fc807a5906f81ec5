//! RTP packets of a recording branch: ring, rewrite, counters.
