//! A recording that was paused after some seconds, and whose recorder knows that.

use siprec_session::{Command, RecordingConfig};

use super::{Call, config, sdp, sdp_with};

/// What the recorder answers of each stream while it gets none.
pub const INACTIVE: &str = "a=inactive\r\n";

/// Another recorder takes over.
pub fn two_recorders() -> RecordingConfig {
    config("sip:a.example sip:b.example")
}

/// `freezes` says whether something had not left yet.
pub fn paused(config: RecordingConfig, freezes: bool) -> Call {
    let mut call = Call::inviting_with(config);
    call.engine.freezes = freezes;
    (0..2).for_each(|slot| call.packet(slot));
    call.answer_invite(&sdp(&[4000, 4002]));
    call.wait_ms(4_000);
    call.command(Command::Pause);
    call.answer_invite(&sdp_with(&[4000, 4002], INACTIVE));
    call.take();
    call
}
