//! Header names.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::syntax::{SyntaxError, Token};

macro_rules! header_names {
    ($($(#[$list:ident])? $variant:ident = $long:literal $(| $compact:literal)?,)+) => {
        /// The name of a header. Names compare without regard to case; a compact form is its long form.
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum HeaderName {
            $(
                #[doc = concat!("`", $long, "`" $(, ", compact `", $compact, "`")?)]
                $variant,
            )+
            /// Any other name, in its own spelling.
            Other(Token),
        }

        impl HeaderName {
            /// The usual spelling, or an unknown name's own.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $long,)+
                    Self::Other(name) => name.as_str(),
                }
            }

            /// Whether several values may stand in one line, separated by commas.
            pub fn is_list(&self) -> bool {
                match self {
                    $(Self::$variant => header_names!(@list $($list)?),)+
                    Self::Other(_) => false,
                }
            }

            fn known(name: &str) -> Option<Self> {
                $(
                    if name.eq_ignore_ascii_case($long) $(|| name.eq_ignore_ascii_case($compact))? {
                        return Some(Self::$variant);
                    }
                )+
                None
            }
        }

        #[cfg(test)]
        const KNOWN: &[(HeaderName, &str, &[&str])] = &[$((HeaderName::$variant, $long, &[$($compact)?])),+];
    };
    (@list list) => { true };
    (@list) => { false };
}

header_names! {
    #[list] Accept = "Accept",
    #[list] AcceptContact = "Accept-Contact" | "a",
    #[list] AcceptEncoding = "Accept-Encoding",
    #[list] AcceptLanguage = "Accept-Language",
    #[list] AlertInfo = "Alert-Info",
    #[list] Allow = "Allow",
    #[list] AllowEvents = "Allow-Events" | "u",
    AuthenticationInfo = "Authentication-Info",
    Authorization = "Authorization",
    CallId = "Call-ID" | "i",
    #[list] CallInfo = "Call-Info",
    #[list] Contact = "Contact" | "m",
    ContentDisposition = "Content-Disposition",
    #[list] ContentEncoding = "Content-Encoding" | "e",
    #[list] ContentLanguage = "Content-Language",
    ContentLength = "Content-Length" | "l",
    ContentType = "Content-Type" | "c",
    CSeq = "CSeq",
    Date = "Date",
    #[list] ErrorInfo = "Error-Info",
    Event = "Event" | "o",
    Expires = "Expires",
    From = "From" | "f",
    #[list] InReplyTo = "In-Reply-To",
    InfoPackage = "Info-Package",
    MaxForwards = "Max-Forwards",
    MimeVersion = "MIME-Version",
    MinExpires = "Min-Expires",
    MinSe = "Min-SE",
    Organization = "Organization",
    #[list] PAssertedIdentity = "P-Asserted-Identity",
    #[list] Path = "Path",
    Priority = "Priority",
    ProxyAuthenticate = "Proxy-Authenticate",
    ProxyAuthenticationInfo = "Proxy-Authentication-Info",
    ProxyAuthorization = "Proxy-Authorization",
    #[list] ProxyRequire = "Proxy-Require",
    RAck = "RAck",
    #[list] Reason = "Reason",
    #[list] RecvInfo = "Recv-Info",
    #[list] RecordRoute = "Record-Route",
    ReferTo = "Refer-To" | "r",
    ReferredBy = "Referred-By" | "b",
    #[list] RejectContact = "Reject-Contact" | "j",
    Replaces = "Replaces",
    #[list] RequestDisposition = "Request-Disposition" | "d",
    #[list] Require = "Require",
    RetryAfter = "Retry-After",
    #[list] Route = "Route",
    RSeq = "RSeq",
    Server = "Server",
    #[list] ServiceRoute = "Service-Route",
    SessionExpires = "Session-Expires" | "x",
    Subject = "Subject" | "s",
    SubscriptionState = "Subscription-State",
    #[list] Supported = "Supported" | "k",
    Timestamp = "Timestamp",
    To = "To" | "t",
    #[list] Unsupported = "Unsupported",
    UserAgent = "User-Agent",
    UserToUser = "User-to-User",
    #[list] Via = "Via" | "v",
    #[list] Warning = "Warning",
    WwwAuthenticate = "WWW-Authenticate",
}

impl HeaderName {
    /// The header of this name, long or compact, in any case.
    ///
    /// # Errors
    /// Where `name` is no token (RFC 3261 §25.1).
    pub fn parse(name: &str) -> Result<Self, SyntaxError> {
        match Self::known(name) {
            Some(known) => Ok(known),
            None => Token::new(name).map(Self::Other),
        }
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other(one), Self::Other(two)) => one.as_str().eq_ignore_ascii_case(two.as_str()),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Eq for HeaderName {}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().to_ascii_lowercase().hash(state);
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_long_and_compact_form_and_any_case() {
        for (name, long, compact) in KNOWN {
            assert_eq!(HeaderName::parse(long).as_ref(), Ok(name));
            assert_eq!(HeaderName::parse(&long.to_uppercase()).as_ref(), Ok(name));
            assert_eq!(name.as_str(), *long);
            for compact in *compact {
                assert_eq!(HeaderName::parse(compact).as_ref(), Ok(name));
                assert_eq!(HeaderName::parse(&compact.to_uppercase()).as_ref(), Ok(name));
            }
        }
    }

    #[test]
    fn no_compact_form_stands_for_two_headers() {
        let mut letters: Vec<_> = KNOWN.iter().flat_map(|(_, _, compact)| compact.iter()).collect();
        let all = letters.len();
        letters.sort();
        letters.dedup();
        assert_eq!(letters.len(), all);
    }

    #[test]
    fn an_unknown_name_keeps_its_spelling_and_compares_without_case() {
        let name = HeaderName::parse("X-Genesys-GVP-Session-ID").unwrap();
        assert_eq!(name.as_str(), "X-Genesys-GVP-Session-ID");
        assert_eq!(name, HeaderName::parse("x-genesys-gvp-session-id").unwrap());
        assert!(HeaderName::parse("X Y").is_err());
        assert!(HeaderName::parse("").is_err());
        assert!(HeaderName::parse("X:\r\nVia").is_err());
    }
}
