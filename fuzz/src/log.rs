//! The result log.

use bedside_live::{Log, Reader, Record};

use crate::{bounded, one_line, scratch};

/// Most bytes that are allocated for a log: some of the longest records.
const MOST: u64 = 4 << 20;

/// A log's file: read, gone on with, and read again.
pub fn log(data: &[u8]) {
    let path = scratch::file("a.log", data);
    bounded(MOST, || {
        let read = || {
            let mut reader = Reader::open(&path).inspect_err(one_line).ok()?;
            let (mut records, mut last) = (0, None);
            for record in reader.by_ref() {
                match record {
                    Ok(record) => (records, last) = (records + 1, Some(record)),
                    Err(error) => one_line(&error),
                }
            }
            Some((records, last, reader.torn()))
        };
        let Some((before, ..)) = read() else {
            return;
        };
        let mut log = match Log::open(&path, None) {
            Ok(log) => log,
            Err(error) => return one_line(&error),
        };
        assert_eq!(log.contents().records, before);
        let appended = Record::Prompts(vec!["polyp".into()]);
        log.append(&appended).expect("room for a record");
        drop(log);
        assert_eq!(read(), Some((before + 1, Some(appended), 0)));
    });
}
