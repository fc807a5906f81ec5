//! Reference recorder: answers recording sessions and writes files.
