//! Options of `siprec recorder` that make it behave like recorders in the field.

use std::time::Duration;

use clap::{Args, ValueEnum};
use siprec_recorder::{Behaviour, Keyframes, MIN_SE, OddCrypto, Pause, Refresh, Refuse, Uri, seconds};

/// How the recorder behaves; times are seconds, with a fraction if need be.
#[derive(Args)]
#[command(
    next_help_heading = "How it behaves (times in seconds from its answer on, unless something else is said)",
    group = clap::ArgGroup::new("refusals").args(["refuse", "redirect", "refuse_reinvite"]).multiple(true)
)]
pub(crate) struct BehaviourArguments {
    /// Answer an INVITE so long after it came.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    answer_after: Duration,
    /// Answer 180 at once.
    #[arg(long)]
    ring: bool,
    /// Refuse every session with this status, 300-699: 486 or "486:Gone fishing".
    #[arg(long, value_name = "STATUS[:REASON]")]
    refuse: Option<Refuse>,
    /// Send every session elsewhere by 302, with this address as Contact; may be given several times.
    #[arg(long, value_name = "URI", value_parser = parse_uri, conflicts_with = "refuse")]
    redirect: Vec<Uri>,
    /// Refuse every later offer of the client.
    #[arg(long, value_name = "STATUS[:REASON]")]
    refuse_reinvite: Option<Refuse>,
    /// Refuse, or send elsewhere, only so many times: sessions in the recorder's life, later offers in each session.
    #[arg(long, value_name = "NUMBER", requires = "refusals")]
    refuse_times: Option<u32>,
    /// Retry-After of every refusal and redirection.
    #[arg(long, value_name = "SECONDS", requires = "refusals")]
    retry_after: Option<u32>,
    /// Answer video with port 0.
    #[arg(long)]
    refuse_video: bool,
    /// Answer this m-line, from 0, with port 0; may be given several times.
    #[arg(long, value_name = "NUMBER")]
    refuse_line: Vec<usize>,
    /// Write answers as the oddest recorders do: other payload types, attributes in odd places, no ptime.
    #[arg(long)]
    odd_sdp: bool,
    /// Answer secured lines wrongly: by a plain line, none or two lines a=crypto, a suite or tag that was not offered,
    /// or a key that the recorder does not send under.
    #[arg(long, value_name = "plain|none|two|suite|tag|key")]
    odd_crypto: Option<OddCrypto>,
    /// Answer re-INVITEs of the client by 200 without a body.
    #[arg(long)]
    no_sdp_in_reinvite: bool,
    /// Do not know session timers (RFC 4028).
    #[arg(long)]
    no_session_timer: bool,
    /// Refuse session intervals below this by 422.
    #[arg(long, value_name = "SECONDS", default_value_t = MIN_SE)]
    min_se: u32,
    /// The longest session interval to agree to.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    session_expires: Option<u32>,
    /// Who refreshes the session, where the client leaves that open.
    #[arg(long, value_name = "ROLE")]
    refresher: Option<Refresher>,
    /// Refresh by itself: SECONDS, with :invite, :offerless, :update or :update-sdp behind it.
    #[arg(long, value_name = "SECONDS[:METHOD]")]
    refresh_every: Option<Refresh>,
    /// Offer a=inactive so long after the answer, for so long; may be given several times.
    #[arg(long, value_name = "AFTER:LENGTH")]
    pause_at: Vec<Pause>,
    /// Offer a=inactive again and again: so long after the answer and each end, for so long.
    #[arg(long, value_name = "AFTER:LENGTH")]
    pause_every: Option<Pause>,
    /// Offer other ports, and new keys where a line is secured.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    move_after: Option<Duration>,
    /// Offer new keys at the same ports.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    rekey_after: Option<Duration>,
    /// Ask for key frames: SECONDS, with :info, :pli or :fir behind it; by all of them without.
    #[arg(long, value_name = "SECONDS[:METHOD]")]
    keyframe_every: Option<Keyframes>,
    /// Send BYE.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    hang_up_after: Option<Duration>,
    /// Answer and send no SIP any more, so long after the first INVITE that ever comes.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    silent_after: Option<Duration>,
    /// Take no RTP and RTCP that comes, and send no RTCP.
    #[arg(long)]
    deaf: bool,
    /// Send no RTCP.
    #[arg(long)]
    no_rtcp: bool,
    /// Do not ask for packets that have not come (generic NACK), and answer so.
    #[arg(long)]
    no_nack: bool,
}

fn parse_uri(text: &str) -> Result<Uri, String> {
    Uri::parse(text).map_err(|error| error.to_string())
}

/// A role of RFC 4028.
#[derive(Clone, Copy, ValueEnum)]
enum Refresher {
    /// The client.
    Uac,
    /// The recorder.
    Uas,
}

impl From<BehaviourArguments> for Behaviour {
    fn from(arguments: BehaviourArguments) -> Self {
        Self {
            answer_after: arguments.answer_after,
            ring: arguments.ring,
            refuse: arguments.refuse,
            redirect: arguments.redirect,
            refuse_reinvite: arguments.refuse_reinvite,
            refuse_times: arguments.refuse_times,
            retry_after: arguments.retry_after,
            refuse_video: arguments.refuse_video,
            refuse_lines: arguments.refuse_line,
            odd_sdp: arguments.odd_sdp,
            odd_crypto: arguments.odd_crypto,
            no_sdp_in_reinvite: arguments.no_sdp_in_reinvite,
            no_session_timer: arguments.no_session_timer,
            min_se: arguments.min_se,
            session_expires: arguments.session_expires,
            refresher: arguments.refresher.map(|role| match role {
                Refresher::Uac => siprec_recorder::Refresher::Uac,
                Refresher::Uas => siprec_recorder::Refresher::Uas,
            }),
            refresh: arguments.refresh_every,
            pause_at: arguments.pause_at,
            pause_every: arguments.pause_every,
            move_after: arguments.move_after,
            rekey_after: arguments.rekey_after,
            keyframes: arguments.keyframe_every,
            hang_up_after: arguments.hang_up_after,
            silent_after: arguments.silent_after,
            deaf: arguments.deaf,
            no_rtcp: arguments.no_rtcp,
            no_nack: arguments.no_nack,
        }
    }
}
