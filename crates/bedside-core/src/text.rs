//! Text from outside: names in files, and what libraries say of them.

/// `text` as one line that can't steer the terminal it is printed on: each run of white space and
/// control characters becomes one space, none at the ends.
///
/// ```
/// assert_eq!(bedside_core::text::one_line("no\n  \u{1b}[31mJPEG\r\n"), "no [31mJPEG");
/// ```
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}
