//! Methods.

use std::fmt;

use crate::syntax::{SyntaxError, Token};

macro_rules! methods {
    ($($variant:ident = $name:literal, $source:literal;)+) => {
        /// A method. Names are compared with regard to case (RFC 3261 §7.1).
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Method {
            $(
                #[doc = concat!("`", $name, "`, ", $source)]
                $variant,
            )+
            /// A method that no RFC known here defines.
            Other(Token),
        }

        impl Method {
            /// The method of this name.
            ///
            /// # Errors
            /// Where `name` is no token (RFC 3261 §25.1).
            pub fn parse(name: &str) -> Result<Self, SyntaxError> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    other => Token::new(other).map(Self::Other),
                }
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other(name) => name.as_str(),
                }
            }
        }
    };
}

methods! {
    Ack = "ACK", "RFC 3261";
    Bye = "BYE", "RFC 3261";
    Cancel = "CANCEL", "RFC 3261";
    Info = "INFO", "RFC 6086";
    Invite = "INVITE", "RFC 3261";
    Message = "MESSAGE", "RFC 3428";
    Notify = "NOTIFY", "RFC 6665";
    Options = "OPTIONS", "RFC 3261";
    Prack = "PRACK", "RFC 3262";
    Publish = "PUBLISH", "RFC 3903";
    Refer = "REFER", "RFC 3515";
    Register = "REGISTER", "RFC 3261";
    Subscribe = "SUBSCRIBE", "RFC 6665";
    Update = "UPDATE", "RFC 3311";
}

impl Method {
    /// Whether an RFC known here defines it: 405 is the answer to one that is, 501 to one that is not.
    pub const fn is_known(&self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_methods_are_told_apart_with_regard_to_case() {
        assert_eq!(Method::parse("INVITE"), Ok(Method::Invite));
        let lower = Method::parse("invite").unwrap();
        assert!(!lower.is_known());
        assert_eq!(lower.as_str(), "invite");
        assert!(Method::parse("!interesting-Method0123456789_*+`.%indeed'~").is_ok());
        assert!(Method::parse("IN VITE").is_err());
        assert!(Method::parse("A\r\nB").is_err());
    }
}
