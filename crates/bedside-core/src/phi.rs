//! What may tell who a patient is, kept out of everything that is printed or stored.

use std::borrow::Cow;
use std::fmt;

/// A value that may tell who a patient is, such as the path of a recording, with words that may
/// stand anywhere in its place.
///
/// `Display` and `Debug` give these words, so that a value reaches no log, record or error by
/// being formatted; only [`reveal`](Self::reveal) gives the value itself.
///
/// ```
/// use bedside_core::Phi;
///
/// let path = Phi::redacted("/recordings/DOE_JANE/1.y4m", "Y4M file");
/// assert_eq!(format!("{path}: {path:?}"), "Y4M file: Y4M file");
/// assert_eq!(*path.reveal(), "/recordings/DOE_JANE/1.y4m");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Phi<T> {
    value: T,
    words: Cow<'static, str>,
}

impl<T> Phi<T> {
    /// A value in whose place stand `words`.
    pub fn redacted(value: T, words: impl Into<Cow<'static, str>>) -> Self {
        Self {
            value,
            words: words.into(),
        }
    }

    /// The same value, whose words go on with `more`.
    #[must_use]
    pub fn with_note(mut self, more: &str) -> Self {
        self.words.to_mut().push_str(more);
        self
    }

    /// The value itself: for where it is used, not for where it is told.
    pub fn reveal(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Display> Phi<T> {
    /// A value that stands for itself: one that tells of no patient, or that somebody asked to see.
    pub fn shown(value: T) -> Self {
        let words = value.to_string().into();
        Self { value, words }
    }
}

impl<T> fmt::Display for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl<T> fmt::Debug for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_formatting_gives_the_value() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "it is printed")]
        struct Holder {
            name: Phi<String>,
        }
        let name = Phi::redacted("ZZPATIENTZZ".to_owned(), "file").with_note(", halved");
        let told = format!(
            "{name} {name:?} {name:#?} {name:>40} {:?}",
            Holder { name: name.clone() }
        );
        assert!(!told.contains("ZZPATIENTZZ"), "{told}");
        assert_eq!(name.to_string(), "file, halved");
        assert_eq!(name.reveal(), "ZZPATIENTZZ");
        assert_eq!(Phi::shown("phantom").to_string(), "phantom");
    }
}
