//! The committed header is the one that cbindgen makes of the source. With `BEDSIDE_BLESS=1` in the
//! environment it is written anew.

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = here.join("include/bedside.h");
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::generate_with_config(here, config).unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    if std::env::var_os("BEDSIDE_BLESS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read(&path).unwrap_or_default();
    assert!(
        committed == made,
        "{} is not current; hint: BEDSIDE_BLESS=1 cargo test -p bedside-capi header",
        path.display()
    );
}
