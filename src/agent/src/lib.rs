//! The loop that turns a recording's outputs into effects.
