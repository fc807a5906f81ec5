//! RTP as a recorder sees it. Nothing here is shared with the side that sends, so that it can judge it.

pub(crate) mod bursts;
pub(crate) mod codec;
pub(crate) mod decode;
pub(crate) mod gate;
pub(crate) mod layout;
pub(crate) mod missing;
pub(crate) mod receive;
pub(crate) mod reception;
pub(crate) mod rtcp;
pub(crate) mod rtp;
pub(crate) mod srtp;
pub(crate) mod timeline;
