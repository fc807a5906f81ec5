"""What the phones of the tests (PJSUA2) run on: one thread, no devices, SIP by UDP at a port of 127.0.0.1."""

import pjsua2 as pj


def started(port):
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 1
    config.medConfig.noVad = True
    # One thread does everything, so that each command comes between two events.
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    endpoint.libInit(config)
    endpoint.audDevManager().setNullDev()
    transport = pj.TransportConfig()
    transport.boundAddress, transport.port = "127.0.0.1", port
    endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    return endpoint
