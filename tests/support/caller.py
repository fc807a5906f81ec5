"""An ordinary phone (PJSUA2) that calls and hums, with SRTP of its own; it puts the other one on hold, where it hums on, takes
up again, and hangs up after seven seconds.

Usage: caller.py SIP-URI SIP-PORT RTP-PORT SUITE. It prints a line for each thing that happens, at last what RTCP told it.
"""

import sys
import time

import pjsua2 as pj

from endpoint import started

URI, PORT, RTP_PORT, SUITE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


class Call(pj.Call):
    tone = None

    def onCallState(self, prm):
        print("call:", self.getInfo().stateText, self.getInfo().lastStatusCode, flush=True)

    def onCallMediaState(self, prm):
        # The list belongs to the info.
        info = self.getInfo()
        media = info.media[0]
        print("media:", media.dir, media.status, flush=True)
        if media.dir & pj.PJMEDIA_DIR_ENCODING:
            if self.tone is None:
                self.tone = pj.ToneGenerator()
                self.tone.createToneGenerator(8000)
                tone = pj.ToneDesc()
                tone.freq1, tone.on_msec, tone.off_msec = 440, 30_000, 0
                tones = pj.ToneDescVector()
                tones.append(tone)
                self.tone.play(tones, True)
            self.tone.startTransmit(self.getAudioMedia(0))


def run(endpoint, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        endpoint.libHandleEvents(10)


def main():
    endpoint = started(PORT)
    for codec in endpoint.codecEnum2():
        endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU") else 0)

    account_config = pj.AccountConfig()
    account_config.idUri = f"sip:phone@127.0.0.1:{PORT}"
    media = account_config.mediaConfig
    media.transportConfig.boundAddress, media.transportConfig.port = "127.0.0.1", RTP_PORT
    media.srtpUse = pj.PJMEDIA_SRTP_MANDATORY
    media.srtpSecureSignaling = 0
    keyings = pj.IntVector()
    keyings.append(pj.PJMEDIA_SRTP_KEYING_SDES)
    media.srtpOpt.keyings = keyings
    crypto = pj.SrtpCrypto()
    crypto.name = SUITE
    cryptos = pj.SrtpCryptoVector()
    cryptos.append(crypto)
    media.srtpOpt.cryptos = cryptos
    account = pj.Account()
    account.create(account_config)

    call = Call(account)
    parameters = pj.CallOpParam(True)
    parameters.opt.videoCount = 0
    call.makeCall(URI, parameters)
    run(endpoint, 3)
    call.setHold(pj.CallOpParam())
    run(endpoint, 1)
    again = pj.CallOpParam(True)
    again.opt.flag |= pj.PJSUA_CALL_UNHOLD
    call.reinvite(again)
    run(endpoint, 3)
    rtcp = call.getStreamStat(0).rtcp
    print("reports:", rtcp.txStat.updateCount, "round trips:", rtcp.rttUsec.n, "lost:", rtcp.txStat.loss, flush=True)
    call.hangup(pj.CallOpParam())
    run(endpoint, 0.5)
    # What belongs to the library must be gone before it.
    call.tone = None
    del call
    account.shutdown()
    del account
    endpoint.libDestroy()


main()
