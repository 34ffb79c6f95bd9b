//! The right to change a session: a secret of each start, in the address that is printed.

use std::fmt;
use std::fmt::Write;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind};

/// A secret that whoever changes the session must know. New at each start, kept nowhere.
///
/// [`Display`](fmt::Display) gives it, for the person who starts the page; `Debug` does not.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// 128 bits of the system's randomness.
    ///
    /// # Errors
    /// [`ErrorKind::Server`] when the system has none.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(|cause| {
            let message = format!("preview page: no random numbers: {cause}");
            Error::new(ErrorKind::Server, message)
        })?;
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Ok(Self(hex))
    }

    /// Whether a request brings it, as `Authorization: Bearer TOKEN`.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // Of hashes, the time that it takes to compare them tells nothing about the secret.
        given.is_some_and(|given| Sha256::digest(given) == Sha256::digest(&self.0))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_new_each_time_and_only_it_opens() {
        let (own, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(own.to_string(), other.to_string());
        assert_eq!(own.to_string().len(), 32);
        assert!(!format!("{own:?}").contains(&own.to_string()));
        let opens = |value: String| {
            let value = HeaderValue::from_str(&value).unwrap();
            own.is_in(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
        };
        assert!(opens(format!("Bearer {own}")));
        for wrong in [
            format!("Bearer {other}"),
            format!("Bearer {own}0"),
            format!("Bearer {}", &own.to_string()[1..]),
            format!("{own}"),
            "Bearer ".to_owned(),
            String::new(),
        ] {
            assert!(!opens(wrong.clone()), "{wrong}");
        }
        assert!(!own.is_in(&HeaderMap::new()));
    }
}
