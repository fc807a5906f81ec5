#!/usr/bin/env python3
"""A recorder that takes one session and prints the DSCP of what comes to each of its sockets: SIP, RTP, RTCP.

Prints "port N" first, then a line "sip DSCP", "rtp DSCP" and "rtcp DSCP" each time that a datagram has come there.
"""

import selectors
import socket


def bound(port=0):
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    taken.bind(("127.0.0.1", port))
    return taken


def pair():
    """Two sockets on neighbouring ports, the first one even."""
    for _ in range(100):
        first = bound()
        port = first.getsockname()[1]
        try:
            if port % 2 == 0:
                return first, bound(port + 1)
        except OSError:
            pass
        first.close()
    raise OSError("no free pair of ports")


def answer(request, rtp_port):
    """A 200 to any request but ACK, with as many m-lines as an INVITE has."""
    head, _, body = request.partition("\r\n\r\n")
    lines = head.split("\r\n")
    kept = [line for line in lines[1:] if line.split(":")[0] in ("Via", "From", "To", "Call-ID", "CSeq")]
    kept = [line if not line.startswith("To:") or ";tag=" in line else line + ";tag=marks" for line in kept]
    media = [line for line in body.split("\r\n") if line.startswith("m=")]
    sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    sdp += "".join(f"m=audio {rtp_port} RTP/AVP 0\r\na=recvonly\r\n" for _ in media)
    kept += [f"Contact: <sip:127.0.0.1:{sip.getsockname()[1]}>", "Content-Type: application/sdp"]
    return "\r\n".join(["SIP/2.0 200 OK", *kept, f"Content-Length: {len(sdp)}", "", sdp])


sip, (rtp, rtcp) = bound(), pair()
waiting = selectors.DefaultSelector()
for name, opened in (("sip", sip), ("rtp", rtp), ("rtcp", rtcp)):
    waiting.register(opened, selectors.EVENT_READ, name)
print("port", sip.getsockname()[1], flush=True)
while True:
    for key, _ in waiting.select():
        data, ancillary, _, sender = key.fileobj.recvmsg(65536, 256)
        for level, kind, value in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS):
                print(key.data, value[0] >> 2, flush=True)
        text = data.decode("latin-1")
        if key.data == "sip" and not text.startswith(("ACK", "SIP/2.0")):
            sip.sendto(answer(text, rtp.getsockname()[1]).encode("latin-1"), sender)
