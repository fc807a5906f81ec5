"""Forks behind the back of a running element, described by the argument, and prints how another one takes that in the child and in
the parent."""

import os
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def ready(description):
    """Whether such an element goes to READY, and what it says where it does not."""
    element = Gst.parse_launch(description)
    bus = Gst.Bus.new()
    element.set_bus(bus)
    result = element.set_state(Gst.State.READY)
    message = bus.pop_filtered(Gst.MessageType.ERROR)
    text = message.parse_error()[0].message if message else ""
    return element, f"{result.value_nick} {text}"


Gst.init(None)
kept, told = ready(sys.argv[1])
print(f"before: {told}", flush=True)
child = os.fork()
if child == 0:
    _, told = ready(sys.argv[1])
    print(f"child: {told}", flush=True)
    os._exit(0)
os.waitpid(child, 0)
other, told = ready(sys.argv[1])
print(f"parent: {told}", flush=True)
other.set_state(Gst.State.NULL)
kept.set_state(Gst.State.NULL)
