#!/usr/bin/env python3
"""A call by DTLS-SRTP, as WebRTC has it, that is recorded while it passes through encrypted.

    pipelines/dtls.py sip:recorder.example:5060          keys of the recording go in the clear: for trying out
    pipelines/dtls.py sips:recorder.example

Needs Debian's python3-gi and gir1.2-gstreamer-1.0, which `pipelines/bootstrap.sh test` installs for /usr/bin/python3.

    phone (DTLS client) ──DTLS, SRTP──▶ siprec ──▶ dtlssrtpdec (DTLS server), which plays what the phone says
          ▲                                                 │
          └────────────────────DTLS─────────────────────────┘ dtlssrtpenc

siprec is before the end of DTLS. It lets handshake and media through, and asks for the keys when the first packet comes: the
answer is what dtlssrtpdec tells its own srtpdec. Packets that come before that wait.
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

SECONDS = 3
VOICE = (
    f"audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,rate=8000,channels=1"
    " ! mulawenc ! rtppcmupay max-ptime=20000000 min-ptime=20000000 ! valve name=lips drop=true"
)
CAPS = "application/x-srtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0"


def child(dtls, factory):
    """The element of this kind inside a dtlssrtpdec."""
    children = dtls.iterate_elements()
    while True:
        found, element = children.next()
        if found != Gst.IteratorResult.OK:
            raise RuntimeError(f"no {factory} in {dtls.get_name()}")
        if element.get_factory().get_name() == factory:
            return element


class Relay:
    """The end of the phone's DTLS, with siprec before it."""

    def __init__(self, recorder, phone_port):
        self.pipeline = Gst.parse_launch(
            "siprec name=rec call-uuid=DTLS-1 dn=1001 stop-timeout=10000000000"
            f" udpsrc name=in address=127.0.0.1 port=0 caps={CAPS} ! rec.sink_0"
            " rec.src_0 ! dtlssrtpdec name=dec connection-id=relay"
            " dec.rtp_src ! fakesink async=false dec.rtcp_src ! fakesink async=false"
            f" dtlssrtpenc connection-id=relay is-client=false name=enc ! udpsink host=127.0.0.1 port={phone_port}"
            " sync=false async=false"
        )
        rec = self.pipeline.get_by_name("rec")
        rec.set_property("recorder", recorder)
        rec.set_property("allow-clear-keys", recorder.startswith("sip:"))
        rec.connect("request-key", self.on_request_key)
        decoder = self.pipeline.get_by_name("dec")
        self.srtpdec = child(decoder, "srtpdec")
        self.has_key = threading.Event()
        child(decoder, "dtlsdec").connect("on-key-received", lambda _: self.has_key.set())

    def on_request_key(self, _rec, pad, ssrc):
        # On a thread of its own: the source's packets wait meanwhile, the call does not.
        if not self.has_key.wait(timeout=5):
            print(f"no key for source {ssrc} of {pad.get_name()}", flush=True)
            return None
        return self.srtpdec.emit("request-key", ssrc)

    def start(self):
        """Listens, and says where."""
        self.pipeline.set_state(Gst.State.PLAYING)
        return self.pipeline.get_by_name("in").get_property("port")


def listening():
    """A socket of the phone, before the relay knows it."""
    socket = Gst.parse_launch("udpsrc name=in address=127.0.0.1 port=0 ! fakesink")
    socket.set_state(Gst.State.PAUSED)
    port = socket.get_by_name("in").get_property("port")
    socket.set_state(Gst.State.NULL)
    return port


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: dtls.py RECORDER-URI")
    Gst.init(None)
    loop = GLib.MainLoop()
    phone_port = listening()
    relay = Relay(sys.argv[1], phone_port)
    relay_port = relay.start()
    phone = Gst.parse_launch(
        f"dtlssrtpenc name=enc connection-id=phone is-client=true ! udpsink host=127.0.0.1 port={relay_port} sync=false"
        f" async=false {VOICE} ! enc.rtp_sink_0"
        f" udpsrc address=127.0.0.1 port={phone_port} ! dtlssrtpdec name=dec connection-id=phone"
        " dec.rtp_src ! fakesink async=false dec.rtcp_src ! fakesink async=false"
    )
    code = 1

    def on_relay(_bus, message):
        nonlocal code
        if message.type == Gst.MessageType.ELEMENT and message.has_name("siprec-started"):
            print(message.get_structure().to_string(), flush=True)
            code = 0
        elif message.type == Gst.MessageType.WARNING:
            print("warning:", message.parse_warning()[0].message, flush=True)
        elif message.type == Gst.MessageType.ERROR:
            print("error:", message.parse_error()[0].message, flush=True)
            code = 1
            loop.quit()

    def speak(_dtlsdec):
        # Before the handshake, dtlssrtpenc would send under a key that nobody knows.
        phone.get_by_name("lips").set_property("drop", False)

    child(phone.get_by_name("dec"), "dtlsdec").connect("on-key-received", speak)
    for pipeline, handler in [(relay.pipeline, on_relay), (phone, None)]:
        bus = pipeline.get_bus()
        bus.add_signal_watch()
        if handler:
            bus.connect("message", handler)
    GLib.timeout_add_seconds(SECONDS, loop.quit)
    phone.set_state(Gst.State.PLAYING)
    loop.run()
    phone.set_state(Gst.State.NULL)
    relay.pipeline.set_state(Gst.State.NULL)
    return code


sys.exit(main())
