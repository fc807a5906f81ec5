//! Sans-IO recording sessions: offer and answer, dialects, legs.
