//! Each kept promise of `docs/promises.md` has its test, and each such test its promise;
//! `docs/mutations.md` says what was broken to see one fail.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::path::Path;

use bedside_tests::workspace;

/// A row of the table of promises.
#[derive(Debug)]
struct Promise {
    kept: bool,
    tests: BTreeSet<String>,
}

/// The rows that begin with a promise's id: its number, and the other cells.
fn rows<const N: usize>(page: &str) -> Result<Vec<(u8, [&str; N])>, String> {
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| P-")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let id = cells.next().unwrap_or_default();
        let number = id
            .trim_start_matches("P-")
            .parse::<u8>()
            .map_err(|e| format!("{id}: {e}"))?;
        let cells = cells.collect::<Vec<_>>().try_into();
        let cells = cells.map_err(|_| format!("not {} columns: {line}", N + 1))?;
        rows.push((number, cells));
    }
    Ok(rows)
}

/// What stands in backticks.
fn names(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// Promises by number.
fn promises(page: &str) -> Result<BTreeMap<u8, Promise>, String> {
    let mut promises = BTreeMap::new();
    for (number, [_, state, tests]) in rows(page)? {
        let kept = match state {
            "kept" => true,
            "open" => false,
            other => {
                return Err(format!("P-{number:02}: state is kept or open, not {other}"));
            }
        };
        let tests = names(tests).collect();
        if promises.insert(number, Promise { kept, tests }).is_some() {
            return Err(format!("P-{number:02} stands there twice"));
        }
    }
    Ok(promises)
}

/// Functions in a source file named `p_NN_...`, with their `NN` and whether the harness runs them.
fn promise_tests(source: &str) -> Vec<(u8, String, bool)> {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line
            .strip_prefix("fn ")
            .and_then(|rest| rest.split(['(', '<']).next())
        else {
            continue;
        };
        let digits = name
            .strip_prefix("p_")
            .and_then(|rest| rest.split_once('_'));
        let Some(Ok(number)) = digits.map(|(digits, _)| digits.parse()) else {
            continue;
        };
        let above = lines
            .iter()
            .take(at)
            .rev()
            .take_while(|line| line.starts_with(['#', '/']));
        let attributes: Vec<_> = above.collect();
        let runs = attributes.iter().any(|line| **line == "#[test]")
            && !attributes.iter().any(|line| line.starts_with("#[ignore"));
        found.push((number, name.to_owned(), runs));
    }
    found
}

/// What the page claims without a test, and what tests keep without the page's knowing.
fn contradictions(promises: &BTreeMap<u8, Promise>, tests: &[(u8, String, bool)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, promise) in promises {
        if promise.kept && promise.tests.is_empty() {
            problems.push(format!("P-{number:02} is kept by no test"));
        }
        if !promise.kept && !promise.tests.is_empty() {
            problems.push(format!("P-{number:02} is open, yet names tests"));
        }
        for name in &promise.tests {
            if !tests
                .iter()
                .any(|(n, test, runs)| n == number && test == name && *runs)
            {
                problems.push(format!("P-{number:02} names {name}, which no test run has"));
            }
        }
    }
    for (number, name, _) in tests {
        if !promises
            .get(number)
            .is_some_and(|promise| promise.tests.contains(name))
        {
            problems.push(format!("{name} stands on no row of docs/promises.md"));
        }
    }
    problems
}

/// The kept promises that nothing was broken for, and the tests that a mutation names without their
/// keeping its promise.
fn unshown(promises: &BTreeMap<u8, Promise>, mutations: &str) -> Result<Vec<String>, String> {
    let mut failed: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
    for (number, [_, tests]) in rows(mutations)? {
        failed.entry(number).or_default().extend(names(tests));
    }
    let mut problems = Vec::new();
    for (number, promise) in promises {
        let failed = failed.remove(number).unwrap_or_default();
        if promise.kept && failed.is_empty() {
            problems.push(format!("P-{number:02} was not seen to fail"));
        }
        for name in failed.difference(&promise.tests) {
            problems.push(format!("{name} does not keep P-{number:02}"));
        }
    }
    problems.extend(failed.keys().map(|number| format!("no P-{number:02}")));
    Ok(problems)
}

fn collect(folder: &Path, found: &mut Vec<(u8, String, bool)>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.extend(promise_tests(&fs::read_to_string(path)?));
        }
    }
    Ok(())
}

#[test]
fn p_30_promises_and_tests_agree() -> Result<(), Box<dyn Error>> {
    let promises = promises(&workspace::read("docs/promises.md")?)?;
    assert!(
        promises.keys().copied().eq(1..=30),
        "P-01 to P-30, each once"
    );
    let mut tests = Vec::new();
    for member in workspace::members()? {
        collect(&member.folder, &mut tests)?;
    }
    assert_eq!(contradictions(&promises, &tests), Vec::<String>::new());
    Ok(())
}

#[test]
fn p_30_every_kept_promise_was_seen_to_fail() -> Result<(), Box<dyn Error>> {
    let promises = promises(&workspace::read("docs/promises.md")?)?;
    let problems = unshown(&promises, &workspace::read("docs/mutations.md")?)?;
    assert_eq!(problems, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_mutation_that_shows_nothing_is_noticed() -> Result<(), Box<dyn Error>> {
    let promises = promises(
        "| P-01 | shown | kept | `p_01_sound`, `p_01_also` |\n\
         | P-02 | forgotten | kept | `p_02_sound` |\n\
         | P-03 | in words alone | kept | `p_03_sound` |\n\
         | P-04 | renamed | kept | `p_04_new_name` |\n\
         | P-05 | modest | open | |\n",
    )?;
    let mutations = "| P-01 | a bound | `p_01_also` |\n| P-01 | a loop | `p_01_sound` |\n\
         | P-03 | a sign | some test |\n| P-04 | a name | `p_04_old_name` |\n\
         | P-06 | nothing | `p_06_sound` |\n";
    assert_eq!(
        unshown(&promises, mutations)?,
        [
            "P-02 was not seen to fail",
            "P-03 was not seen to fail",
            "p_04_old_name does not keep P-04",
            "no P-06",
        ]
    );
    Ok(())
}

#[test]
fn a_page_at_odds_with_the_tests_is_noticed() -> Result<(), Box<dyn Error>> {
    let promises = promises(
        "| Id | Promise | State | Tests |\n\
         |---|---|---|---|\n\
         | P-01 | sound | kept | `p_01_sound`, `p_01_also` |\n\
         | P-02 | bare | kept | |\n\
         | P-03 | renamed | kept | `p_03_old_name` |\n\
         | P-04 | modest | open | |\n\
         | P-05 | ignored | kept | `p_05_ignored` |\n\
         | P-06 | borrowed | kept | `p_01_sound` |\n",
    )?;
    let tests = promise_tests(
        "#[test]\nfn p_01_sound() {\n    #[test]\n    fn p_01_also(x in any::<u8>()) {\n\
         #[test]\nfn p_03_new_name() {\n\
         #[test]\n/// Words.\nfn p_04_modest() {\n\
         #[test]\n#[ignore = \"slow\"]\nfn p_05_ignored() {\n\
         fn p_value() {\nfn other() {\n",
    );
    assert_eq!(
        contradictions(&promises, &tests),
        [
            "P-02 is kept by no test",
            "P-03 names p_03_old_name, which no test run has",
            "P-05 names p_05_ignored, which no test run has",
            "P-06 names p_01_sound, which no test run has",
            "p_03_new_name stands on no row of docs/promises.md",
            "p_04_modest stands on no row of docs/promises.md",
        ]
    );
    Ok(())
}

#[test]
fn a_malformed_page_is_refused() {
    assert!(promises("| P-01 | three columns | open |").is_err());
    assert!(promises("| P-01 | a claim | nearly | |").is_err());
    assert!(promises("| P-01 | a | open | |\n| P-01 | b | open | |").is_err());
}
