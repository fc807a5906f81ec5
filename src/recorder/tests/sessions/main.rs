//! Whole sessions: a scripted client on loopback, the recorder, and the files that stay.
//!
//! The modules are marked as tests, so that the lints for production code let them be.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod client;
#[cfg(test)]
mod codecs;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod pauses;
#[cfg(test)]
mod secured;
#[cfg(test)]
mod signalling;
#[cfg(test)]
mod sound;
#[cfg(test)]
mod srtp;
