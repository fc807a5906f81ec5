#!/usr/bin/env python3
"""A Python application that records a call which it carries itself.

    pipelines/embed.py sip:recorder.example:5060

Needs Debian's python3-gi, gir1.2-gstreamer-1.0 and gir1.2-gst-plugins-base-1.0, which `pipelines/bootstrap.sh test`
installs for /usr/bin/python3.

Each party's RTP comes from the application (appsrc), runs through siprec untouched and goes back to the application
(appsink). Prints what siprec reports and ends when the recording has ended; exit code 1 when it failed.
"""

import struct
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import GLib, Gst, GstApp  # noqa: E402,F401

SECONDS = 3
CAPS = "application/x-rtp,media=audio,encoding-name=PCMU,clock-rate=8000,payload=0"
PIPELINE = " ".join(
    f"appsrc name=in{n} is-live=true format=time do-timestamp=true caps={CAPS} ! rec.sink_{n}"
    f" rec.src_{n} ! appsink name=out{n} sync=false async=false emit-signals=true"
    for n in range(2)
)


class Call:
    def __init__(self, recorder):
        self.loop = GLib.MainLoop()
        self.code = 0
        self.sequence = 0
        self.received = [0, 0]

        self.pipeline = Gst.parse_launch(f"siprec name=rec call-uuid=PYTHON-1 dn=1001 other-dn=1002 {PIPELINE}")
        rec = self.pipeline.get_by_name("rec")
        rec.set_property("recorder", recorder)
        rec.connect("state-changed", self.on_state)
        for n in range(2):
            self.pipeline.get_by_name(f"out{n}").connect("new-sample", self.on_sample, n)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)

    def on_sample(self, sink, party):
        sink.emit("pull-sample")
        self.received[party] += 1
        return Gst.FlowReturn.OK

    def send(self):
        """One packet of each party: 20 ms of a different constant tone."""
        if self.sequence == SECONDS * 50:
            for n in range(2):
                self.pipeline.get_by_name(f"in{n}").emit("end-of-stream")
            return GLib.SOURCE_REMOVE
        for n in range(2):
            header = struct.pack("!BBHII", 0x80, 0, self.sequence, self.sequence * 160, 0x1000 + n)
            tone = bytes([0x10 + 0x80 * (i // (4 + 4 * n) % 2) for i in range(160)])
            self.pipeline.get_by_name(f"in{n}").emit("push-buffer", Gst.Buffer.new_wrapped(header + tone))
        self.sequence += 1
        return GLib.SOURCE_CONTINUE

    def on_message(self, _bus, message):
        structure = message.get_structure()
        if message.type == Gst.MessageType.ERROR:
            print("error:", message.parse_error().gerror.message)
            self.code = 1
            self.loop.quit()
        elif message.type == Gst.MessageType.EOS:
            # The call is over; what is held is still on its way to the recorder until siprec says so.
            print("the call has ended")
        elif message.type == Gst.MessageType.ELEMENT and structure.get_name().startswith("siprec-"):
            print(structure.to_string())

    def on_state(self, _rec, state, _reason):
        """On a thread of the agent. One recorder's failure is no end: the next is tried."""
        if state.value_nick in ("stopped", "failed"):
            GLib.idle_add(self.over, state.value_nick)

    def over(self, state):
        self.code = int(state == "failed")
        self.loop.quit()
        return GLib.SOURCE_REMOVE

    def run(self):
        GLib.timeout_add(20, self.send)
        GLib.timeout_add_seconds(20, self.loop.quit)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        print("packets that came out of the call:", *self.received)
        return self.code


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    Gst.init(None)
    sys.exit(Call(sys.argv[1]).run())
