"""An ordinary phone (PJSUA2) that answers calls and writes what it hears: it knows nothing of recording.

Usage: phone.py SIP-PORT RTP-PORT WAV MIN-SE. It prints a line for each thing that happens, and does what it is told on its standard
input, one command on each line:

    hold, unhold     the phone's re-INVITE, with its media inactive and again as before
    reinvite, update its re-INVITE and UPDATE with the same media
    hangup           its BYE
    quit             the end of the program, with the file complete
"""

import select
import sys

import pjsua2 as pj

from endpoint import started

PORT, RTP_PORT, WAV, MIN_SE = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])


class Call(pj.Call):
    def __init__(self, account, number):
        super().__init__(account, number)
        self.file = None

    def onCallState(self, prm):
        print("call:", self.getInfo().stateText, flush=True)

    def onCallMediaState(self, prm):
        info = self.getInfo()
        states = [(media.dir, media.status) for media in info.media]
        print("media:", *(f"{direction}/{status}" for direction, status in states), flush=True)
        for index, (direction, _) in enumerate(states):
            if direction & pj.PJMEDIA_DIR_DECODING:
                if self.file is None:
                    self.file = pj.AudioMediaRecorder()
                    self.file.createRecorder(WAV)
                self.getAudioMedia(index).startTransmit(self.file)

    def onCallTsxState(self, prm):
        tsx = prm.e.body.tsxState.tsx
        answered = tsx.role == pj.PJSIP_ROLE_UAS
        # An INVITE of its own that is accepted ends at once.
        accepted = tsx.state == pj.PJSIP_TSX_STATE_TERMINATED and tsx.method == "INVITE" and tsx.statusCode // 100 == 2
        if tsx.state == pj.PJSIP_TSX_STATE_COMPLETED or accepted and not answered:
            print("answered:" if answered else "got:", tsx.statusCode, tsx.method, flush=True)


class Account(pj.Account):
    call = None

    def onIncomingCall(self, prm):
        self.call = Call(self, prm.callId)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        self.call.answer(answer)


def obey(call, command):
    again = pj.CallOpParam(True)
    if command == "hold":
        call.setHold(pj.CallOpParam())
    elif command == "unhold":
        again.opt.flag |= pj.PJSUA_CALL_UNHOLD
        call.reinvite(again)
    elif command == "reinvite":
        call.reinvite(again)
    elif command == "update":
        call.update(again)
    elif command == "hangup":
        call.hangup(pj.CallOpParam())
    else:
        sys.exit(f"unknown command: {command}")
    print("done:", command, flush=True)


def main():
    endpoint = started(PORT)

    account_config = pj.AccountConfig()
    account_config.idUri = f"sip:phone@127.0.0.1:{PORT}"
    account_config.callConfig.timerMinSESec = MIN_SE
    account_config.callConfig.timerSessExpiresSec = max(MIN_SE, 1800)
    media = account_config.mediaConfig.transportConfig
    media.boundAddress, media.port = "127.0.0.1", RTP_PORT
    account = Account()
    account.create(account_config)
    print("ready", flush=True)

    reading = True
    while reading:
        endpoint.libHandleEvents(10)
        if select.select([sys.stdin], [], [], 0)[0]:
            line = sys.stdin.readline()
            if line.strip() in ("", "quit"):
                reading = False
            else:
                obey(account.call, line.strip())
    # What belongs to the library must be gone before it; the file is complete then.
    if account.call:
        account.call.file = None
    account.call = None
    account.shutdown()
    del account
    endpoint.libDestroy()


main()
