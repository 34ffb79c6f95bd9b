//! A file that does not fill the disk.

use std::io::{self, Write};

/// Passes on whole writes until one would exceed a number of bytes: that one and all that follow
/// fail with [`FileTooLarge`](io::ErrorKind::FileTooLarge), and what was written stays whole.
#[derive(Debug)]
pub struct Bounded<W> {
    inner: W,
    left: u64,
}

impl<W: Write> Bounded<W> {
    /// At most `bytes` to `inner`.
    pub fn new(inner: W, bytes: u64) -> Self {
        Self { inner, left: bytes }
    }
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        if length > self.left {
            self.left = 0;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.inner.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_refused_as_a_whole_and_for_good() {
        let mut page = Vec::new();
        let mut bounded = Bounded::new(&mut page, 10);
        bounded.write_all(b"12345").unwrap();
        let error = bounded.write_all(b"123456").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(bounded.write_all(b"1").is_err());
        assert_eq!(page, b"12345");
    }
}
