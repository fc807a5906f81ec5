//! Who we are to those who ask.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::syntax;

/// A password: wiped when the last copy goes, and shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<Box<str>>);

impl Password {
    /// Takes the text, whatever it holds.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

// It would end up in a log.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A user with its password, for one realm or for whoever asks. Copies share the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    user: String,
    password: Password,
    realm: Option<String>,
}

/// Why no credentials can be made of a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// The user is empty.
    #[error("the user is empty")]
    NoUser,
    /// What would have to be escaped is hashed with the escape by some servers and without it by others.
    #[error("the user has {0:?}, which servers do not agree about")]
    User(char),
}

impl Credentials {
    /// For the challenges of `realm` only, in its own case; without one for every challenge, whoever asks.
    ///
    /// # Errors
    /// When the user is empty or has a quote, a backslash or a control character.
    pub fn new(user: &str, password: Password, realm: Option<&str>) -> Result<Self, CredentialsError> {
        if user.is_empty() {
            return Err(CredentialsError::NoUser);
        }
        let escaped = |character: &char| character.is_control() || matches!(character, '"' | '\\');
        if let Some(character) = user.chars().find(escaped) {
            return Err(CredentialsError::User(character));
        }
        let (user, realm) = (user.to_owned(), realm.map(str::to_owned));
        Ok(Self(Arc::new(Inner { user, password, realm })))
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.0.user
    }

    /// The only realm that they are for.
    pub fn realm(&self) -> Option<&str> {
        self.0.realm.as_deref()
    }

    /// Whether they are for the realm that stands so between its quotes.
    pub(super) fn is_for(&self, quoted: &[u8]) -> bool {
        self.realm().is_none_or(|own| own == syntax::unquote(&[b"\"", quoted, b"\""].concat()))
    }

    pub(super) fn password(&self) -> &str {
        self.0.password.reveal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_shown_by_nothing() {
        let credentials = Credentials::new("ada", Password::new("SECRET"), Some("r")).unwrap();
        assert!(!format!("{credentials:?} {credentials:#?}").contains("SECRET"));
        assert_eq!(format!("{:?}", Password::new("SECRET")), "Password(..)");
    }

    #[test]
    fn a_realm_is_compared_by_what_it_says_not_by_how_it_is_escaped() {
        let of = |realm| Credentials::new("ada", Password::new(""), realm).unwrap();
        assert!(of(Some("a \"b\" c")).is_for(br#"a \"b\" c"#));
        assert!(of(Some("abc")).is_for(br"a\bc"));
        assert!(!of(Some("abc")).is_for(b"ABC"), "RFC 7235 \u{a7}2.2");
        assert!(of(None).is_for(b"anything"));
    }

    #[test]
    fn a_user_that_would_need_an_escape_is_refused() {
        let of = |user: &str| Credentials::new(user, Password::new(""), None).map(drop);
        assert_eq!(of(""), Err(CredentialsError::NoUser));
        for (user, character) in [("a\"b", '"'), ("a\\", '\\'), ("a\r\nVia: x", '\r')] {
            assert_eq!(of(user), Err(CredentialsError::User(character)));
        }
        assert_eq!(of("J\u{e4}s\u{f8}n Doe@example.org"), Ok(()));
    }
}
