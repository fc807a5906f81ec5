//! SRTP and SRTCP from outside: every suite, on every backend of the build and across them.

#![cfg(test)]

#[path = "srtp/common.rs"]
mod common;
#[path = "srtp/properties.rs"]
mod properties;
#[path = "srtp/protecting.rs"]
mod protecting;
#[path = "srtp/unprotecting.rs"]
mod unprotecting;
#[path = "srtp/unread.rs"]
mod unread;
#[path = "srtp/vectors.rs"]
mod vectors;
