//! Sans-IO SIP and SDP for recording dialogs: no socket, no clock, no global.
//!
//! | what | where | rules |
//! |---|---|---|
//! | messages that keep what they do not know | [`Message`], [`Headers`] | RFC 3261 §7, §20, §25; RFC 4475 |
//! | byte-exact URIs and a builder that escapes | [`Uri`], [`UriBuilder`] | RFC 3261 §19.1, RFC 3966 |
//! | framing on a stream | [`stream::Framer`] | RFC 3261 §18.3, RFC 5626 §3.5.1 |
//! | session descriptions | [`sdp`] | RFC 8866, RFC 3264, RFC 3605, RFC 5761, RFC 4574 |
//! | multipart bodies | [`multipart`] | RFC 2046 §5.1, RFC 5621 |
//! | transactions, alone or in a dialog | [`ClientTransaction`], [`ServerTransaction`] | RFC 3261 §17, RFC 6026 |
//! | a dialog at either end | [`DialogUa`] | RFC 3261 §8, §9, §12-§15; RFC 3311 §5 |
//! | credentials for who asks | [`Credentials`] | RFC 3261 §22, RFC 7616, RFC 8760 |
//! | randomness as an argument | [`Random`] | |
//!
//! ```
//! use siprec_sip::{Message, Method};
//!
//! let message = Message::parse(
//!     b"OPTIONS sip:recorder.example SIP/2.0\r\n\
//!       v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
//!       f: <sip:client@192.0.2.1>;tag=a\r\n\
//!       t: <sip:recorder.example>\r\n\
//!       i: 1@192.0.2.1\r\n\
//!       CSeq: 1 OPTIONS\r\n\r\n",
//! )?;
//! let Message::Request(request) = message else { return Ok(()) };
//! assert_eq!(request.method, Method::Options);
//! assert_eq!(request.headers.from()?.tag(), Some("a"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod auth;
mod dialog;
pub mod header;
pub mod message;
pub mod multipart;
mod random;
mod redact;
pub mod sdp;
pub mod stream;
mod syntax;
mod transaction;
mod ua;
pub mod uri;

pub use auth::{ChallengeFault, Credentials, CredentialsError, Password};
pub use dialog::Dialog;
pub use header::{
    CSeq, ContentType, HeaderError, HeaderName, HeaderValue, Headers, NameAddr, Params, Refresher,
    SessionExpires, Via,
};
pub use message::{Message, Method, ParseError, ParseErrorKind, Request, Response};
pub use multipart::{Multipart, Part};
pub use random::Random;
pub use sdp::SessionDescription;
pub use syntax::{SyntaxError, Token};
pub use transaction::{
    AlreadyAnswered, ClientTransaction, ServerTransaction, T1, T2, T4, TRANSACTION_TIMEOUT,
    TransactionFailure, Transport, response_to,
};
pub use ua::{
    Body, DialogEvent, DialogNote, DialogUa, Endpoint, LEFT_BEHIND_STEP, NothingToAcknowledge, RequestError,
    RequestToken, RespondError, ServerToken, Termination, UacConfig,
};
pub use uri::{Uri, UriBuilder, UriError};
