//! The program `siprec`: argument parsing and wiring of the subcommands, nothing else.

fn main() {}
