"""A recorder whose media side is rtpengine: a SIP server that hands the client's offer to rtpengine as something published,
subscribes to it as plain RTP, and keeps what rtpengine has decrypted.

Usage: witness.py NG_ADDRESS:PORT PACKETS [--passive]. Prints "listening PORT" (SIP by UDP), its answer when a session begins, and
after its BYE one line for each stream: "stream N:" and the payloads of its packets in hexadecimal, in the order of their sequence
numbers, once it has so many PACKETS of the stream or nothing comes any more. Where DTLS is offered it begins the handshake, or
with --passive leaves that to the client.
"""

import random
import socket
import sys


def encode(value):
    if isinstance(value, dict):
        return b"d" + b"".join(encode(key) + encode(value[key]) for key in sorted(value)) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, int):
        return b"i%de" % value
    text = value.encode() if isinstance(value, str) else value
    return b"%d:%s" % (len(text), text)


def decode(data, at=0):
    kind = data[at : at + 1]
    if kind in b"dl":
        items, at = [], at + 1
        while data[at : at + 1] != b"e":
            item, at = decode(data, at)
            items.append(item)
        return (dict(zip(items[::2], items[1::2])) if kind == b"d" else items), at + 1
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    colon = data.index(b":", at)
    end = colon + 1 + int(data[at:colon])
    return data[colon + 1 : end].decode(), end


class Rtpengine:
    """Its control protocol: bencoded dictionaries behind a cookie, over UDP."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(address)
        self.socket.settimeout(5)

    def ask(self, command, **arguments):
        cookie = f"{random.getrandbits(64):x} ".encode()
        fields = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.socket.send(cookie + encode({"command": command, **fields}))
        answer = decode(self.socket.recv(65535).split(b" ", 1)[1])[0]
        if answer["result"] != "ok":
            sys.exit(f"rtpengine refuses {command}: {answer}")
        return answer


def udp():
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    opened.bind(("127.0.0.1", 0))
    return opened


def lines(message, *names):
    return [line for line in message.split("\r\n") if line.split(":")[0].lower() in names]


class Witness:
    def __init__(self, engine, options):
        self.engine = engine
        self.options = options
        self.call = f"witness-{random.getrandbits(64):x}"
        self.sip = udp()
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
        head = [line if line.lower()[:3] != "to:" or ";tag=" in line else line + ";tag=w" for line in head]
        head.append(f"Contact: <sip:127.0.0.1:{self.sip.getsockname()[1]}>")
        if body:
            head.append("Content-Type: application/sdp")
        head.append(f"Content-Length: {len(body)}")
        self.sip.sendto(("\r\n".join(["SIP/2.0 200 OK", *head]) + "\r\n\r\n" + body).encode(), client)

    def invited(self, offer):
        answer = self.engine.ask("publish", call_id=self.call, from_tag="client", sdp=offer, **self.options)
        print(answer["sdp"], flush=True)
        subscription = self.engine.ask(
            "subscribe request", call_id=self.call, from_tag="client", transport_protocol="RTP/AVP"
        )
        wanted = subscription["sdp"]
        plain = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
        for media in (line for line in wanted.split("\r\n") if line.startswith("m=")):
            words = media.split(" ")
            if words[2] != "RTP/AVP":
                sys.exit(f"rtpengine does not offer plain RTP: {media}")
            self.streams.append(udp())
            words[1] = str(self.streams[-1].getsockname()[1])
            plain += [" ".join(words), "a=recvonly"]
        self.engine.ask(
            "subscribe answer", call_id=self.call, to_tag=subscription["to-tag"], sdp="\r\n".join(plain) + "\r\n"
        )
        return answer["sdp"]

    def heard(self, most):
        for number, stream in enumerate(self.streams):
            stream.settimeout(5 if most else 0.5)
            packets = []
            try:
                while len(packets) < max(most, 1):
                    packet = stream.recv(2048)
                    # RTCP shares the port where the two are multiplexed.
                    if not 64 <= packet[1] & 0x7F <= 95:
                        packets.append(packet)
            except TimeoutError:
                pass
            first = int.from_bytes(packets[0][2:4], "big") if packets else 0
            packets.sort(key=lambda packet: int.from_bytes(packet[2:4], "big") - first & 0xFFFF)
            print(f"stream {number}:", *(packet[12:].hex() for packet in packets), flush=True)


host, port = sys.argv[1].split(":")
options = {"DTLS": "passive"} if "--passive" in sys.argv else {}
witness = Witness(Rtpengine((host, int(port))), options)
witness.serve()
witness.heard(int(sys.argv[2]))
