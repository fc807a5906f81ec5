//! The element's properties: what each is, and where its value lives.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use super::enums::{
    SiprecBye, SiprecDialect, SiprecKeying, SiprecPolicy, SiprecSessionMode, SiprecSrtp, SiprecState,
};
use super::settings::Settings;
use crate::agent::SiprecAgent;
use crate::value::{take, take_time};

/// No time that is set is longer.
const LONGEST: gst::ClockTime = gst::ClockTime::from_seconds(3600);

/// Every property of `siprec`.
pub(super) fn all() -> &'static [glib::ParamSpec] {
    static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
        let defaults = Settings::default();
        let mut all = recorder();
        all.extend(call());
        all.extend(security());
        all.extend(course(&defaults));
        all.extend(report());
        all
    });
    &PROPERTIES
}

/// Who records, and how.
fn recorder() -> Vec<glib::ParamSpec> {
    vec![
        text(
            "recorder",
            "Recorder",
            "SIP URIs of the recorders in the order in which they are tried, separated by white space, or pool:NAME for \
             a pool of the agent's. Needed at NULL to READY with auto-start, else at start",
        ),
        text(
            "second-recorder",
            "Second recorder",
            "The recorders of a second copy of the recording, which is independent of the first, in the words of recorder; \
             no second copy when not set",
        ),
        text(
            "location",
            "Location",
            "Label of the place where a recorder of the pool should stand; any when not set",
        ),
        structure(
            "recorder-tls",
            "TLS with the recorders",
            "What is particular about TLS with these recorders: server-name (what their certificates must be for, \
             instead of the host of the URI), ca (PEM file of authorities) and min-version (1.2 or 1.3)",
        ),
        glib::ParamSpecBoolean::builder("sips-call")
            .nick("Call by SIPS")
            .blurb("The call is signalled by SIPS: recorders are reached by TLS, whatever their URIs say, or not at all")
            .default_value(false)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("dialect", SiprecDialect::default())
            .nick("Dialect")
            .blurb("What is spoken with the recorder")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("session-mode", SiprecSessionMode::default())
            .nick("Session mode")
            .blurb("How the parties are spread over sessions")
            .mutable_ready()
            .build(),
        glib::ParamSpecObject::builder::<SiprecAgent>("agent")
            .nick("Agent")
            .blurb(
                "The SIP agent. Without it the GstContext \"gst.siprec.agent\" decides, and without that the agent \
                 that all elements of the process share",
            )
            .mutable_ready()
            .build(),
    ]
}

/// What is recorded.
fn call() -> Vec<glib::ParamSpec> {
    vec![
        text("call-uuid", "Call UUID", "The controller's name of the call; a random UUID when not set"),
        text(
            "recording-id",
            "Recording id",
            "Name of the recording at the recorder, globally unique; a random UUID for each recording when not set",
        ),
        party("dn", "Directory number", "Who speaks on sink_0: the same as the pad's property dn"),
        party("other-dn", "Other party's number", "Who speaks on sink_1: the same as the pad's property dn"),
        text("record-dn", "Recording party", "Who asked for the recording; the value of dn when not set"),
        structure(
            "extra-parameters",
            "Extra parameters",
            "Further parameters of the Request-URI, sent in this order. Names that change routing or the dialog are \
             refused",
        ),
        structure(
            "extra-headers",
            "Extra headers",
            "Further headers of the INVITE, sent in this order. Headers of the protocol itself are refused",
        ),
    ]
}

/// Whether the recording is encrypted.
fn security() -> Vec<glib::ParamSpec> {
    let flag = |name: &'static str, nick: &'static str, blurb: &'static str| {
        glib::ParamSpecBoolean::builder(name)
            .nick(nick)
            .blurb(blurb)
            .default_value(false)
            .mutable_ready()
            .build()
    };
    vec![
        glib::ParamSpecEnum::builder_with_default("srtp", SiprecSrtp::default())
            .nick("SRTP")
            .blurb("When the media towards the recorder is encrypted, with keys of the recording's own")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("srtp-keying", SiprecKeying::default())
            .nick("SRTP keying")
            .blurb("Where the keys of media that is encrypted towards the recorder come from")
            .mutable_ready()
            .build(),
        text(
            "srtp-suites",
            "SRTP suites",
            "The suites that the recorder is offered, best first, separated by white space or commas: AEAD_AES_128_GCM \
             AES_CM_128_HMAC_SHA1_80 when not set",
        ),
        flag(
            "allow-downgrade",
            "Allow downgrade",
            "Record a call that is encrypted in the clear where srtp is disable, instead of not at all",
        ),
        flag(
            "allow-clear-keys",
            "Allow clear keys",
            "Send the recording's keys over signalling that is not encrypted (UDP, TCP), instead of not recording",
        ),
    ]
}

/// When it is recorded, and how long things may take.
fn course(defaults: &Settings) -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("auto-start")
            .nick("Start by itself")
            .blurb("Invite the recorder when every sink pad has caps, or 1 s after the first packet")
            .default_value(defaults.auto_start)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("pre-record")
            .nick("Hold before start")
            .blurb("Without auto-start: hold packets from the first on, so that the recording begins before start")
            .default_value(defaults.pre_record)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("record-video")
            .nick("Record video")
            .blurb("Record video, too, where the call has it")
            .default_value(defaults.record_video)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("hold-is-mute")
            .nick("Hold is mute")
            .blurb(
                "A party whose session description says sendonly, because it has put the other on hold, counts as \
                 muted",
            )
            .default_value(defaults.hold_is_mute)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("probe-interval")
            .nick("Probe interval")
            .blurb("How often in ns a recorder of which nothing is heard is asked whether it lives; 0 = never")
            .maximum(LONGEST.nseconds())
            .default_value(defaults.probe_interval.nseconds())
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("policy", SiprecPolicy::default())
            .nick("Policy")
            .blurb("What becomes of the call when its recording is impossible")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("recorder-bye", SiprecBye::default())
            .nick("Recorder's BYE")
            .blurb("What it means that the recorder hangs up")
            .mutable_ready()
            .build(),
        time("hold-time", "Hold time", "Longest time in ns that a packet waits for the recorder", defaults.hold_time),
        bytes(
            "hold-bytes",
            "Hold bytes",
            "Most bytes of an audio stream that wait for the recorder; the oldest go first",
            defaults.hold_bytes,
        ),
        bytes(
            "video-hold-bytes",
            "Video hold bytes",
            "Most bytes of a video stream that wait for the recorder; the oldest groups of pictures go first",
            defaults.video_hold_bytes,
        ),
        glib::ParamSpecFloat::builder("catch-up")
            .nick("Catch up")
            .blurb(
                "How many times faster than real time held packets leave, from 1; 0 drops them and reports a gap \
                 (for recorders that do not place packets by timestamp)",
            )
            .minimum(0.0)
            .maximum(100.0)
            .default_value(defaults.catch_up)
            .mutable_ready()
            .build(),
        time(
            "drain-timeout",
            "Drain timeout",
            "Longest time in ns that a recording outlives its call to deliver what is held",
            defaults.drain_timeout,
        ),
        glib::ParamSpecUInt64::builder("stop-timeout")
            .nick("Stop timeout")
            .blurb("Longest time in ns that READY to NULL of the last siprec of the shared agent waits for its dialogs")
            .maximum(LONGEST.nseconds())
            .default_value(defaults.stop_timeout.nseconds())
            .mutable_playing()
            .build(),
    ]
}

/// How it goes.
fn report() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecEnum::builder_with_default("state", SiprecState::default())
            .nick("State")
            .blurb("Where the recording is")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "state, a structure for each sink pad by its name (packets, bytes, gated, queue-full, unreadable, \
                 secured, recordable), and copies: for each its state and its sessions with recorders",
            )
            .read_only()
            .build(),
    ]
}

fn text(name: &'static str, nick: &'static str, blurb: &'static str) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).mutable_ready().build()
}

fn party(name: &'static str, nick: &'static str, blurb: &'static str) -> glib::ParamSpec {
    glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).mutable_playing().build()
}

fn structure(name: &'static str, nick: &'static str, blurb: &'static str) -> glib::ParamSpec {
    glib::ParamSpecBoxed::builder::<gst::Structure>(name).nick(nick).blurb(blurb).mutable_ready().build()
}

/// An amount from 2 KiB to 1 GiB.
fn bytes(name: &'static str, nick: &'static str, blurb: &'static str, default: u32) -> glib::ParamSpec {
    glib::ParamSpecUInt::builder(name)
        .nick(nick)
        .blurb(blurb)
        .minimum(2048)
        .maximum(1 << 30)
        .default_value(default)
        .mutable_ready()
        .build()
}

/// A time from 0 to an hour.
fn time(
    name: &'static str,
    nick: &'static str,
    blurb: &'static str,
    default: gst::ClockTime,
) -> glib::ParamSpec {
    glib::ParamSpecUInt64::builder(name)
        .nick(nick)
        .blurb(blurb)
        .maximum(LONGEST.nseconds())
        .default_value(default.nseconds())
        .mutable_ready()
        .build()
}

impl Settings {
    /// Takes the value of a property that is a setting.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "recorder" => take(&mut self.recorder, value),
            "second-recorder" => take(&mut self.second_recorder, value),
            "location" => take(&mut self.location, value),
            "recorder-tls" => take(&mut self.recorder_tls, value),
            "sips-call" => take(&mut self.sips_call, value),
            "dialect" => take(&mut self.dialect, value),
            "session-mode" => take(&mut self.session_mode, value),
            "call-uuid" => take(&mut self.call_uuid, value),
            "recording-id" => take(&mut self.recording_id, value),
            "record-dn" => take(&mut self.record_dn, value),
            "extra-parameters" => take(&mut self.extra_parameters, value),
            "extra-headers" => take(&mut self.extra_headers, value),
            "auto-start" => take(&mut self.auto_start, value),
            "pre-record" => take(&mut self.pre_record, value),
            "record-video" => take(&mut self.record_video, value),
            "hold-is-mute" => take(&mut self.hold_is_mute, value),
            "srtp" => take(&mut self.srtp, value),
            "srtp-keying" => take(&mut self.srtp_keying, value),
            "srtp-suites" => take(&mut self.srtp_suites, value),
            "allow-downgrade" => take(&mut self.allow_downgrade, value),
            "allow-clear-keys" => take(&mut self.allow_clear_keys, value),
            "probe-interval" => take_time(&mut self.probe_interval, value),
            "recorder-bye" => take(&mut self.recorder_bye, value),
            "policy" => take(&mut self.policy, value),
            "hold-time" => take_time(&mut self.hold_time, value),
            "hold-bytes" => take(&mut self.hold_bytes, value),
            "video-hold-bytes" => take(&mut self.video_hold_bytes, value),
            "catch-up" => take(&mut self.catch_up, value),
            "drain-timeout" => take_time(&mut self.drain_timeout, value),
            "stop-timeout" => take_time(&mut self.stop_timeout, value),
            "agent" => take(&mut self.agent, value),
            _ => {}
        }
    }

    /// The value of a property that is a setting; `None` for any other.
    pub(super) fn value(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "recorder" => self.recorder.to_value(),
            "second-recorder" => self.second_recorder.to_value(),
            "location" => self.location.to_value(),
            "recorder-tls" => self.recorder_tls.to_value(),
            "sips-call" => self.sips_call.to_value(),
            "dialect" => self.dialect.to_value(),
            "session-mode" => self.session_mode.to_value(),
            "call-uuid" => self.call_uuid.to_value(),
            "recording-id" => self.recording_id.to_value(),
            "record-dn" => self.record_dn.to_value(),
            "extra-parameters" => self.extra_parameters.to_value(),
            "extra-headers" => self.extra_headers.to_value(),
            "auto-start" => self.auto_start.to_value(),
            "pre-record" => self.pre_record.to_value(),
            "record-video" => self.record_video.to_value(),
            "hold-is-mute" => self.hold_is_mute.to_value(),
            "srtp" => self.srtp.to_value(),
            "srtp-keying" => self.srtp_keying.to_value(),
            "srtp-suites" => self.srtp_suites.to_value(),
            "allow-downgrade" => self.allow_downgrade.to_value(),
            "allow-clear-keys" => self.allow_clear_keys.to_value(),
            "probe-interval" => self.probe_interval.nseconds().to_value(),
            "recorder-bye" => self.recorder_bye.to_value(),
            "policy" => self.policy.to_value(),
            "hold-time" => self.hold_time.nseconds().to_value(),
            "hold-bytes" => self.hold_bytes.to_value(),
            "video-hold-bytes" => self.video_hold_bytes.to_value(),
            "catch-up" => self.catch_up.to_value(),
            "drain-timeout" => self.drain_timeout.nseconds().to_value(),
            "stop-timeout" => self.stop_timeout.nseconds().to_value(),
            "agent" => self.agent.to_value(),
            _ => return None,
        })
    }
}
