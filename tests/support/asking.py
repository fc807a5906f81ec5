"""A recorder whose media side is GStreamer's rtpbin, as far as it is a judge of retransmission: its jitter buffer misses packets, its
session asks for them by generic NACK (RFC 4585), and nothing of it is ours.

Usage: asking.py EVERY. Prints "listening PORT" (SIP by UDP), and after the BYE one line for each stream: "stream N:" and the payloads
of its packets in hexadecimal, in the order in which the jitter buffer gave them out. Every so-many-th packet is dropped before it when it comes for the first
time; none with 0.
"""

import socket
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

Gst.init(None)
CAPS = "application/x-rtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0"
# Longer than any packet is asked for.
LATENCY = 1500


def lines(message, *names):
    return [line for line in message.split("\r\n") if line.split(":")[0].lower() in names]


def pair():
    """Two neighbouring ports, the first even."""
    while True:
        rtp, rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        rtp.bind(("127.0.0.1", 0))
        port = rtp.getsockname()[1]
        try:
            if port % 2 == 0:
                rtcp.bind(("127.0.0.1", port + 1))
                return rtp, rtcp
        except OSError:
            pass
        rtp.close()
        rtcp.close()


class Stream:
    def __init__(self, client, every):
        self.every = every
        self.known = set()
        rtp, rtcp = pair()
        self.port = rtp.getsockname()[1]
        rtp.close()
        rtcp.close()
        self.payloads = []
        self.pipeline = Gst.parse_launch(
            f"rtpbin name=bin latency={LATENCY} do-retransmission=true rtp-profile=avpf "
            f'udpsrc name=rtp address=127.0.0.1 port={self.port} caps="{CAPS}" ! bin.recv_rtp_sink_0 '
            f"udpsrc address=127.0.0.1 port={self.port + 1} caps=application/x-rtcp ! bin.recv_rtcp_sink_0 "
            f"bin.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={client} sync=false async=false"
        )
        rtpbin = self.pipeline.get_by_name("bin")
        rtp = self.pipeline.get_by_name("rtp").get_static_pad("src")
        rtp.add_probe(Gst.PadProbeType.BUFFER, self.came)
        rtpbin.connect("pad-added", self.added)
        rtpbin.connect("new-jitterbuffer", self.patient)
        self.pipeline.set_state(Gst.State.PLAYING)

    def came(self, _, info):
        sequence = info.get_buffer().extract_dup(2, 2)
        if self.every == 0 or sequence in self.known:
            return Gst.PadProbeReturn.OK
        self.known.add(sequence)
        is_dropped = len(self.known) % self.every == 0
        return Gst.PadProbeReturn.DROP if is_dropped else Gst.PadProbeReturn.OK

    def patient(self, _, buffer, *__):
        # Packets leave five at a time, and none is missing before a later one has come.
        buffer.set_property("rtx-next-seqnum", False)
        buffer.set_property("rtx-retry-timeout", 60)
        buffer.set_property("rtx-retry-period", LATENCY - 100)

    def added(self, _, pad):
        if not pad.get_name().startswith("recv_rtp_src"):
            return
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("sync", False)
        sink.set_property("async", False)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.add_probe(Gst.PadProbeType.BUFFER, self.heard)
        pad.link(sink.get_static_pad("sink"))

    def heard(self, _, info):
        packet = info.get_buffer().extract_dup(0, info.get_buffer().get_size())
        self.payloads.append(packet[12:].hex())
        return Gst.PadProbeReturn.OK


class Recorder:
    def __init__(self, every):
        self.every = every
        self.sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sip.bind(("127.0.0.1", 0))
        self.streams = []
        self.answer = None

    def serve(self):
        print(f"listening {self.sip.getsockname()[1]}", flush=True)
        while True:
            data, client = self.sip.recvfrom(65535)
            request = data.decode()
            method = request.split(" ")[0]
            if method == "INVITE":
                if self.answer is None:
                    self.answer = self.invited(request.split("\r\n\r\n", 1)[1])
                self.respond(request, client, self.answer)
            elif method == "BYE":
                self.respond(request, client, "")
                return
            elif method != "ACK":
                self.respond(request, client, "")

    def respond(self, request, client, body):
        head = lines(request, "via", "from", "to", "call-id", "cseq")
        head = [line if line.lower()[:3] != "to:" or ";tag=" in line else line + ";tag=a" for line in head]
        head.append(f"Contact: <sip:127.0.0.1:{self.sip.getsockname()[1]}>")
        if body:
            head.append("Content-Type: application/sdp")
        head.append(f"Content-Length: {len(body)}")
        self.sip.sendto(("\r\n".join(["SIP/2.0 200 OK", *head]) + "\r\n\r\n" + body).encode(), client)

    def invited(self, offer):
        if offer.count("a=rtcp-fb:* nack\r\n") != offer.count("m=audio"):
            sys.exit(f"nothing may be asked for: {offer}")
        answer = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
        for media in (line for line in offer.split("\r\n") if line.startswith("m=")):
            self.streams.append(Stream(int(media.split(" ")[1]) + 1, self.every))
            answer += [f"m=audio {self.streams[-1].port} RTP/AVP 0", "a=recvonly", "a=rtcp-fb:* nack"]
        return "\r\n".join(answer) + "\r\n"

    def heard(self):
        # What the jitter buffer still holds.
        time.sleep(LATENCY / 1000 + 0.3)
        for number, stream in enumerate(self.streams):
            stream.pipeline.set_state(Gst.State.NULL)
            print(f"stream {number}:", *stream.payloads, flush=True)


recorder = Recorder(int(sys.argv[1]))
recorder.serve()
recorder.heard()
