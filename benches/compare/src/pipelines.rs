//! The rows that are GStreamer's, as `gst-launch-1.0` would have them.

use crate::row::Row;
use crate::traffic::{self, Mode, Path, SUITE};

/// Where everything goes.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// A port for each stream of the calls.
    pub call: Vec<u16>,
    /// A port for each stream at the recorder, or one for all.
    pub recording: Vec<u16>,
    /// The recorder's SIP URI.
    pub recorder: String,
    /// Ports to listen on, where elements do not tell which ones they took.
    pub input: Vec<u16>,
}

/// All calls, with two streams each.
pub fn describe(row: Row, mode: Mode, streams: usize, targets: &Targets) -> String {
    let mut pipeline = String::new();
    for stream in 0..streams {
        if row.has_sessions() && stream.is_multiple_of(2) {
            pipeline += &session(mode, stream / 2, &targets.recorder);
        }
        pipeline += &line(row, mode, stream, targets);
    }
    pipeline
}

/// One stream of a call.
fn line(row: Row, mode: Mode, stream: usize, targets: &Targets) -> String {
    let port = |ports: &[u16]| ports.get(stream).or(ports.first()).copied().unwrap_or(9);
    let (call, recording) = (port(&targets.call), port(&targets.recording));
    let caps = caps(mode, stream);
    // With port 0 the kernel gives sockets that share their ports one that another has.
    let alone = "reuse=false";
    let (source, sink, queue) = match row {
        Row::Ts | Row::TsTee => {
            let input = targets.input.get(stream).copied().unwrap_or(0);
            let context = "context=compare context-wait=20";
            (
                format!("ts-udpsrc name=in{stream} address=127.0.0.1 port={input} {context}"),
                // Its `clients` may be any number.
                format!("ts-udpsink sync=false {context} clients=127.0.0.1"),
                format!("ts-queue {context}"),
            )
        }
        _ if row.has_shared_threads() => (
            format!("siprecudpsrc name=in{stream} address=127.0.0.1 port=0 {alone}"),
            "siprecudpsink host=127.0.0.1 port=".to_owned(),
            String::new(),
        ),
        _ => (
            format!("udpsrc name=in{stream} address=127.0.0.1 port=0 {alone}"),
            "udpsink sync=false async=false host=127.0.0.1 port=".to_owned(),
            "queue".to_owned(),
        ),
    };
    let sink = |port: u16| {
        if sink.ends_with('=') { format!("{sink}{port}") } else { format!("{sink}:{port}") }
    };
    let middle = match row {
        _ if row.has_sessions() => {
            let (number, pad) = (stream / 2, stream % 2);
            format!("! rec{number}.sink_{pad} rec{number}.src_{pad} ! {}", sink(call))
        }
        Row::StockTee | Row::TsTee => {
            let branch = branch(mode, stream);
            format!(
                "! tee name=t{stream} ! {} t{stream}. ! {queue} {branch} ! {}",
                sink(call),
                sink(recording)
            )
        }
        _ => format!("! {}", sink(call)),
    };
    format!("{source} caps=\"{caps}\" {middle}\n")
}

/// `srtpdec` as it comes, and `srtpenc` with the recording's key.
fn branch(mode: Mode, stream: usize) -> String {
    let encoder = format!("! srtpenc key={}", hex(&traffic::master(Path::Recording, stream)));
    match mode {
        Mode::Plain => String::new(),
        Mode::Secured => encoder,
        Mode::Srtp => format!("! srtpdec {encoder}"),
    }
}

fn session(mode: Mode, call: usize, recorder: &str) -> String {
    let srtp = if mode.secures_recording() { "require" } else { "disable" };
    format!(
        "siprec name=rec{call} recorder={recorder} call-uuid=CALL-{call} dn={} other-dn={} srtp={srtp} \
         srtp-suites={SUITE} allow-clear-keys=true\n",
        2 * call,
        2 * call + 1
    )
}

fn caps(mode: Mode, stream: usize) -> String {
    let rtp = "media=audio,encoding-name=PCMU,clock-rate=8000,payload=0";
    if mode.secures_call() {
        let key = hex(&traffic::master(Path::Call, stream));
        format!(
            "application/x-srtp,{rtp},ssrc=(uint){},srtp-key=(buffer){key},srtp-cipher=aes-128-icm,\
             srtp-auth=hmac-sha1-80,srtcp-cipher=aes-128-icm,srtcp-auth=hmac-sha1-80",
            traffic::ssrc(stream)
        )
    } else {
        format!("application/x-rtp,{rtp}")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_goes_where_it_should_and_two_share_a_session() {
        let targets = Targets {
            call: vec![1001, 1002],
            recording: vec![2001, 2002],
            recorder: "sip:r".into(),
            input: Vec::new(),
        };
        let pipeline = describe(Row::StockTee, Mode::Srtp, 2, &targets);
        for port in ["port=1001 t0.", "port=2001\n", "port=1002 t1.", "port=2002\n"] {
            assert!(pipeline.contains(port), "{pipeline}");
        }
        let pipeline = describe(Row::StockSiprec, Mode::Secured, 2, &targets);
        assert_eq!(pipeline.matches("siprec name=").count(), 1);
        assert!(pipeline.contains("! rec0.sink_1 rec0.src_1 ! udpsink"));
        assert!(pipeline.contains("port=1002\n"));
    }
}
