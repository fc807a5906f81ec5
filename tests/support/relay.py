"""A relay that is led line by line: what gst-launch-1.0 does, and the actions of the element "rec".

Usage: relay.py PIPELINE [PROPERTY=VALUE ...]. With properties, the element gets an agent of its own that has them. Reads commands from its standard input, one on each line, and prints every element message:

    action NAME [TEXT ...]     emit an action signal; a text that it answers is printed as "answer: TEXT"
    sdp DN FILE                set-party-sdp with a file's text
    update PAD=DN [PAD=DN ...] update-parties; "PAD=" for a party that has left
    set PAD PROPERTY VALUE     set a property of a pad
    keys PAD LINE              answer request-key of that pad by an a=crypto line from now on
    dtls NAME FILE             answer request-key by what the dtlssrtpdec of this name knows from now on, which FILE is told in hexadecimal
    dot                        write a graph of the pipeline where GST_DEBUG_DUMP_DOT_DIR says
    agent NAME                 emit an action signal of the agent of its own
    exit                       end the process by exit(), with the call under way
    quit [SECONDS]             end the call, and wait up to 5 s until every session that started has stopped, or up to so many
                               seconds until the recording has ended, whatever it still tries
"""

import ctypes
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, GObject, Gst  # noqa: E402


def say(line):
    """Prints a line as a whole: handlers run on several threads, whose lines would run into each other."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def emit(element, name, *arguments):
    answer = element.emit(name, *arguments)
    say(f"done: {name}" if answer is None else f"answer: {answer}")


# How many seconds the recording has to end, where that was said.
patience = []

# What request-key is answered, by pad.
crypto_lines = {}


def answer(element, pad, _ssrc):
    line = crypto_lines.get(pad.get_name())
    return line and element.emit("crypto-caps", line)


def child(dtls, factory):
    """The element of this kind inside a dtlssrtpdec."""
    children = dtls.iterate_elements()
    while True:
        found, part = children.next()
        if found != Gst.IteratorResult.OK:
            raise RuntimeError(f"no {factory} in {dtls.get_name()}")
        if part.get_factory().get_name() == factory:
            return part


def answer_by_dtls(element, dtls, path):
    """As pipelines/dtls.py does. The key goes to the file alone."""
    srtpdec = child(dtls, "srtpdec")
    has_key = threading.Event()
    child(dtls, "dtlsdec").connect("on-key-received", lambda _: has_key.set())

    def told(_element, _pad, ssrc):
        if not has_key.wait(timeout=5):
            return None
        caps = srtpdec.emit("request-key", ssrc)
        key = caps.get_structure(0).get_value("srtp-key")
        with open(path, "w") as file:
            file.write(key.extract_dup(0, key.get_size()).hex())
        return caps

    element.connect("request-key", told)


def obey(element, line, loop):
    words = line.split()
    if not words:
        return
    command, arguments = words[0], words[1:]
    if command == "action":
        emit(element, *arguments)
    elif command == "sdp":
        with open(arguments[1], newline="") as file:
            emit(element, "set-party-sdp", arguments[0], file.read())
    elif command == "update":
        parties = Gst.Structure.new_empty("parties")
        for argument in arguments:
            pad, dn = argument.split("=", 1)
            parties.set_value(pad, dn)
        emit(element, "update-parties", parties)
    elif command == "set":
        pad, name, value = arguments
        Gst.util_set_object_arg(element.get_static_pad(pad), name, value)
        say(f"done: set {name}")
    elif command == "keys":
        if not crypto_lines:
            element.connect("request-key", answer)
        crypto_lines[arguments[0]] = " ".join(arguments[1:])
        say("done: keys")
    elif command == "dtls":
        answer_by_dtls(element, element.get_parent().get_by_name(arguments[0]), arguments[1])
        say("done: dtls")
    elif command == "dot":
        Gst.debug_bin_to_dot_file(element.get_parent(), Gst.DebugGraphDetails.VERBOSE, "relay")
        say("done: dot")
    elif command == "agent":
        emit(element.get_property("agent"), *arguments)
    elif command == "exit":
        ctypes.CDLL(None).exit(0)
    elif command == "quit":
        patience.extend(map(float, arguments))
        loop.quit()
    else:
        sys.exit(f"unknown command: {line}")


def main():
    Gst.init(None)
    pipeline = Gst.parse_launch(sys.argv[1])
    element = pipeline.get_by_name("rec")
    if len(sys.argv) > 2:
        agent = GObject.new("GstSiprecAgent")
        for setting in sys.argv[2:]:
            name, value = setting.split("=", 1)
            Gst.util_set_object_arg(agent, name, value)
        agent.connect("recorder-changed", lambda _, *words: say(" ".join(["changed:", *map(str, words)])))
        element.set_property("agent", agent)
    loop = GLib.MainLoop()
    open_sessions = set()

    def heard(_bus, message):
        if message.type == Gst.MessageType.ELEMENT:
            structure = message.get_structure()
            say(structure.to_string())
            if structure.get_name() == "siprec-started":
                open_sessions.add(structure.get_string("session"))
            elif structure.get_name() in ("siprec-stopped", "siprec-failed"):
                open_sessions.discard(structure.get_string("session"))
        elif message.type == Gst.MessageType.WARNING:
            say(f"WARNING: {message.parse_warning()[0].message}")
        elif message.type == Gst.MessageType.ERROR:
            say(f"ERROR: {message.parse_error()[0].message}")
            loop.quit()
        return True

    def told(channel, _condition):
        line = channel.readline()
        if line:
            obey(element, line, loop)
        else:
            loop.quit()
        return bool(line)

    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", heard)
    GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, told)
    pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    pipeline.set_state(Gst.State.READY)

    def look():
        # Between a session that failed and the next one there is none, though the recording goes on.
        state = element.get_property("state").value_nick
        if not open_sessions and (not patience or state in ("idle", "stopped", "failed")):
            # What has been told before is on the bus.
            GLib.idle_add(loop.quit)
        return True

    GLib.timeout_add(20, look)
    GLib.timeout_add(int((patience or [5])[0] * 1000), loop.quit)
    loop.run()
    pipeline.set_state(Gst.State.NULL)


main()
