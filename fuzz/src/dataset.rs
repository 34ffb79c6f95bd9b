//! Lists of frames with known masks.

use bedside_eval::{Split, rows};

use crate::{bounded, one_line, scratch};

/// Most bytes that are allocated for a list.
const MOST: u64 = 16 << 20;

/// A dataset folder's `manifest.csv`.
pub fn manifest(data: &[u8]) {
    let folder = scratch::folder().join("dataset");
    scratch::write(&folder.join("manifest.csv"), data);
    bounded(MOST, || match rows(&folder, Split::All, Some(5)) {
        Ok(rows) => {
            assert!(rows.rows.len() <= 5);
            for failed in &rows.failed {
                one_line(&failed.error);
            }
        }
        Err(error) => one_line(&error),
    });
}
