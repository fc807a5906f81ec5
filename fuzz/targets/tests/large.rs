//! Inputs as large as the limits let through, and larger: what a reader does with them grows no faster than they do.
//! A quadratic reader takes minutes over a mebibyte of any of these; a linear one a fraction of a second, even unoptimised.

use std::time::{Duration, Instant};

use siprec_fuzz_targets::TARGETS;

/// Generous, for a loaded machine; far below what a quadratic reader needs.
const LONGEST: Duration = Duration::from_secs(20);

const HEAD: &str = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP b;branch=z9hG4bKc\r\nFrom: <sip:d>;tag=e\r\nTo: <sip:a>\r\n\
    Call-ID: f\r\nCSeq: 1 OPTIONS\r\n";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n";

/// `piece` again and again, up to `bytes`.
fn fill(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes / piece.len())
}

fn quick(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let started = Instant::now();
    (target.run)(input);
    let taken = started.elapsed();
    let start = input[..input.len().min(80)].escape_ascii();
    assert!(taken < LONGEST, "{name}: {taken:?} over {} bytes: {start}", input.len());
}

#[test]
fn large_headers_are_read_in_linear_time() {
    for size in [60 * 1024, 1024 * 1024] {
        for piece in [
            "a",
            ", ",
            "<sip:a>,",
            ";x",
            ";x=\"",
            "\\",
            "\"",
            "(",
            "\r\n ",
            " ",
            "%41",
            "Contact: <sip:a>\r\nX: ",
        ] {
            for name in ["Contact", "Via", "Require", "Subject", "From", "Content-Type", "X"] {
                let message = format!("{HEAD}{name}: {}\r\n\r\n", fill(piece, size));
                quick("sip_message", message.as_bytes());
            }
        }
    }
}

#[test]
fn large_values_are_read_in_linear_time() {
    for piece in [
        "a", ",", "a,", ";x", ";x=y", "\"", "\"a\"", "\\", "(", "<", ">", "[", "%", "%41", "@", ":", "?",
        "&a=b", " ",
    ] {
        for start in ["", "\"", "<", "sip:", "sip:a;", "sip:a?", "<sip:a>", "SIP/2.0/UDP a;", "a/b;"] {
            let value = format!("{start}{}", fill(piece, 64 * 1024));
            quick("sip_header", value.as_bytes());
            quick("sip_uri", value.as_bytes());
        }
    }
}

#[test]
fn large_streams_are_framed_in_linear_time_however_they_are_cut() {
    let message = format!("{HEAD}Content-Length: 0\r\n\r\n");
    for piece in ["\r\n", "\n", "a", " ", "a: b\r\n", "\r", message.as_str()] {
        for start in ["", "OPTIONS sip:a SIP/2.0\r\n"] {
            for cut in [1, 200] {
                let mut input = vec![cut];
                input.extend_from_slice(format!("{start}{}", fill(piece, 256 * 1024)).as_bytes());
                quick("sip_stream", &input);
            }
        }
    }
    // A body that comes byte by byte.
    let body = format!("\u{1}{HEAD}Content-Length: 1000000\r\n\r\n{}", fill("a", 1_000_000));
    quick("sip_stream", body.as_bytes());
}

#[test]
fn large_bodies_are_taken_apart_in_linear_time() {
    let nested = "--b\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n";
    for piece in ["--b\r\n", "--b\r\n\r\nx\r\n", "--", "\r\n", "\r\n--", "-", "--bb\r\n", "a: b\r\n", nested]
    {
        let body = format!("multipart/mixed;boundary=b\n{}--b--\r\n", fill(piece, 1024 * 1024));
        quick("multipart", body.as_bytes());
    }
    let mut nested = "v=0\r\n".to_owned();
    for depth in 0..400 {
        let inner = if depth == 0 {
            "application/sdp".to_owned()
        } else {
            format!("multipart/mixed;boundary=b{}", depth - 1)
        };
        nested = format!("--b{depth}\r\nContent-Type: {inner}\r\n\r\n{nested}\r\n--b{depth}--\r\n");
    }
    quick("multipart", format!("multipart/mixed;boundary=b399\n{nested}").as_bytes());
}

#[test]
fn large_descriptions_are_read_in_linear_time() {
    for size in [60 * 1024, 1024 * 1024] {
        let audio = format!("m=audio 4000 RTP/AVP {}\r\n", fill("96 97 ", 2000));
        let inputs = [
            format!("{SDP}m=audio 4000 RTP/AVP {}\r\n", fill("96 ", size)),
            format!("{SDP}m=audio 4000 RTP/AVP 96\r\n{}", fill("a=rtpmap:96 x/8000\r\n", size)),
            format!("{SDP}{audio}{}", fill("a=fmtp:97 x\r\n", size)),
            format!(
                "{SDP}m=audio 4000 RTP/AVP 96 {}\r\n{}",
                fill("1 ", size / 2),
                fill("a=rtpmap:96 x/8\r\n", size / 2)
            ),
            format!("{SDP}{}", fill("m=audio 0 RTP/AVP 0\r\n", size)),
            format!("{SDP}{}", fill("a=x\r\n", size)),
            format!("{SDP}{}", fill("\r\n", size)),
            format!("{SDP}m=audio 4000 RTP/AVP 0\r\n{}", fill("c=IN IP4 192.0.2.1\r\n", size)),
            format!("{SDP}a={}\r\n", fill("a", size)),
        ];
        for input in inputs {
            quick("sdp", input.as_bytes());
            quick("party_sdp", format!("{input}\n%%\n{input}").as_bytes());
        }
    }
}

#[test]
fn large_datagrams_are_read_in_linear_time() {
    for piece in [
        b"\x80\xcb\0\0".as_slice(),
        b"\x9f\xc9\0\0",
        b"\x81\xca\0\x01\0\0\0\x01",
        b"\x84\xce\0\x02\0\0\0\x01\0\0\0\0",
        b"\xff",
    ] {
        quick("rtcp", &piece.repeat(64 * 1024 / piece.len()));
        quick("rtp", &piece.repeat(64 * 1024 / piece.len()));
        quick("srtp", &piece.repeat(64 * 1024 / piece.len()));
        quick("srtcp", &piece.repeat(64 * 1024 / piece.len()));
        quick("dtls", &piece.repeat(64 * 1024 / piece.len()));
    }
    // Empty records, and the smallest pieces of messages, as many as fit into a datagram.
    for piece in [
        b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\0".as_slice(),
        b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x0d\x02\0\x10\0\0\0\0\0\0\0\0\x01\x02",
    ] {
        let datagram = piece.repeat(2048 / piece.len());
        let length = u16::try_from(datagram.len()).unwrap().to_be_bytes();
        quick("dtls", &[b"\0", &[b"\0", &length[..], &datagram].concat().repeat(200)[..]].concat());
    }
}

#[test]
fn large_files_of_dialogs_are_read_in_linear_time() {
    for piece in ["+1\ta=b\n", "-1\n", "\n", "%", "%41", "\t", "a=b\t", "\tcall-id=a"] {
        for start in ["", "dialogs 1\thost=a\tprocess=1\n", "dialogs 1\thost=a\tprocess=1\n+1\t"] {
            quick("journal", format!("{start}{}", fill(piece, 256 * 1024)).as_bytes());
        }
    }
}

#[test]
fn large_files_of_pools_are_read_in_linear_time() {
    let recorder = "[[pool.a.recorder]]\nuri = \"sip:r\"\n";
    for piece in [
        "[",
        "{",
        "a.",
        "\"",
        "\n",
        "#",
        "a = 1\n",
        "[pool.a]\n",
        "x = [",
        "uri = \"sip:r\"\n",
        "extra-headers.a = \"b\"\n",
        recorder,
    ] {
        for start in ["", "[pool.a]\n", recorder, "[[pool.a.recorder]]\nuri = \"sip:"] {
            quick("pools", format!("{start}{}", fill(piece, 256 * 1024)).as_bytes());
        }
    }
    let many: String =
        (0..10_000).map(|n| format!("[[pool.p{}.recorder]]\nuri = \"sip:r{n}\"\n", n % 300)).collect();
    quick("pools", many.as_bytes());
}
