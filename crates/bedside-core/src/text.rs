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

/// What a parser of TOML says in `message` about byte `at` of `text`, with the line and, where the
/// types that are read with serde have no such key, the nearest that they have.
pub fn explain_toml(text: &str, at: usize, message: &str) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    // serde says "unknown field `a`, expected one of `b`, `c`".
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field");
    let Some(name) = names.next().filter(|_| unknown) else {
        return format!("line {line}: {}", one_line(message));
    };
    let nearest = names.min_by_key(|known| strsim::damerau_levenshtein(name, known));
    format!(
        "line {line}: there is no key '{}' here; hint: the nearest is '{}'",
        one_line(name),
        nearest.unwrap_or_default()
    )
}
