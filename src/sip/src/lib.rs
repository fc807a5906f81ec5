//! Sans-IO SIP and SDP for recording dialogs.
