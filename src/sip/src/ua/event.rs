//! What a [`DialogUa`](crate::DialogUa) tells its user, and the names by which the user answers.

use crate::{ChallengeFault, Request, Response, TransactionFailure};

/// Names a request of ours, in the events about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestToken(pub(super) u64);

/// Names a request of the peer that the user must answer with [`DialogUa::respond`](crate::DialogUa::respond).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerToken(pub(super) u64);

/// What happened in the dialog. [`Terminated`](DialogEvent::Terminated) is the last one, and comes exactly once;
/// before it each request of ours has at most one outcome (`Answered`, `Refused`, `Responded` or `Failed`).
#[derive(Debug, Clone)]
pub enum DialogEvent {
    /// A provisional response, 100 included, to an INVITE of ours.
    Progress {
        /// The INVITE.
        token: RequestToken,
        /// 100-199.
        response: Response,
    },
    /// A request of ours met 401 or 407, and goes again with credentials, under the same token.
    Challenged {
        /// The request.
        token: RequestToken,
    },
    /// An INVITE of ours was accepted. The ACK is on its way, unless the INVITE carried no offer: then the response
    /// carries one, and [`DialogUa::acknowledge`](crate::DialogUa::acknowledge) must send the answer.
    Answered {
        /// The INVITE.
        token: RequestToken,
        /// 200-299.
        response: Response,
    },
    /// An INVITE of ours was refused. If it was the first one, `Terminated` follows.
    ///
    /// After 408 or 481 to a later one the dialog is lost (RFC 3261 §12.2.1.2): the user is to send BYE.
    Refused {
        /// The INVITE.
        token: RequestToken,
        /// 300-699.
        response: Response,
        /// Why a 401 or 407 could not be answered.
        fault: Option<Box<ChallengeFault>>,
    },
    /// The final response to a request of ours that is neither INVITE nor BYE.
    Responded {
        /// The request.
        token: RequestToken,
        /// 200-699.
        response: Response,
        /// Why a 401 or 407 could not be answered.
        fault: Option<Box<ChallengeFault>>,
    },
    /// A request of ours had no final response. If it was the first INVITE, `Terminated` follows; else the dialog is
    /// lost and the user is to send BYE.
    Failed {
        /// The request.
        token: RequestToken,
        /// Why.
        failure: TransactionFailure,
    },
    /// A request of the peer that the user must answer: an INVITE, an UPDATE with or without an offer, or one with a
    /// method that the user added to [`Endpoint::allow`](crate::Endpoint::allow).
    Request {
        /// Names it in [`DialogUa::respond`](crate::DialogUa::respond).
        token: ServerToken,
        /// The request.
        request: Request,
    },
    /// An INFO of the peer, which has been answered 200.
    Info(Request),
    /// The peer acknowledged the 2xx that the user gave. The body is the answer, if the 2xx made the offer.
    Acknowledged {
        /// The INVITE.
        token: ServerToken,
        /// The ACK.
        ack: Request,
    },
    /// The peer cancelled its INVITE, which has been answered 487. If it was the first one, `Terminated` follows.
    Cancelled {
        /// The INVITE; it can no longer be answered.
        token: ServerToken,
    },
    /// The dialog is over. Nothing is left for the user to do, save carrying messages until
    /// [`DialogUa::is_finished`](crate::DialogUa::is_finished) if it wants to be polite.
    Terminated(Termination),
}

/// How a dialog ended.
#[derive(Debug, Clone)]
pub enum Termination {
    /// The first INVITE was refused, by either side, or failed.
    NotEstablished,
    /// The first INVITE was cancelled, by either side.
    Cancelled,
    /// Our BYE was answered, or had no answer.
    LocalBye {
        /// Its final status, 200-699; None where it had none.
        status: Option<u16>,
    },
    /// The peer hung up with this BYE, which has been answered 200.
    RemoteBye(Box<Request>),
    /// The peer never acknowledged our 2xx. We sent BYE (RFC 3261 §13.3.1.4).
    Unacknowledged,
}

/// Why a request cannot be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The first INVITE has no 2xx yet: it can only be cancelled or answered.
    #[error("the dialog is not established yet")]
    NotEstablished,
    /// BYE was sent or received.
    #[error("the dialog is over")]
    Ended,
    /// An INVITE is open, in either direction (RFC 3261 §14.1). Wait until
    /// [`DialogUa::may_offer`](crate::DialogUa::may_offer).
    #[error("another INVITE is open in this dialog")]
    InviteOpen,
    /// An offer is open, in either direction (RFC 3311 §5.1).
    #[error("another offer is open in this dialog")]
    OfferOpen,
    /// ACK and CANCEL are sent by the dialog itself.
    #[error("ACK and CANCEL are not the user's to send")]
    Method,
}

/// Why a request of the peer cannot be answered so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RespondError {
    /// No open request has this token: it was answered, cancelled, or ended by a BYE.
    #[error("the request has been answered already")]
    AlreadyAnswered,
    /// The status is not in 100-699.
    #[error("{0} is no SIP status")]
    Status(u16),
}

/// There is no 2xx that waits for this ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer waits to be acknowledged")]
pub struct NothingToAcknowledge;
