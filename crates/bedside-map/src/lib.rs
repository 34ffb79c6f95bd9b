//! Stretches of files and devices as memory. A file is mapped rather than read: a gigabyte of weights is
//! then neither copied nor counted against the memory that a device has left.
//!
//! The `unsafe` lines outside `bedside-kernels` stand here, because no compiler can know what
//! others do to a file:
//!
//! * A mapped file that is **cut short** ends the process (SIGBUS) when the lost bytes are read.
//! * Mapped bytes that are **overwritten** in place change under whoever reads them.
//!
//! So whoever replaces a file that may be mapped writes a new one and renames it over the old, as
//! `bedside pack` does: the map keeps the old file. And whoever maps keeps the [`Bytes`] no longer
//! than it takes to read them once; bedside does so while a graph is loaded, never between frames.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{Deref, DerefMut, Range};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut, MmapOptions};

/// Bytes of a file, or of memory.
#[derive(Debug)]
pub struct Bytes(Source);

#[derive(Debug)]
enum Source {
    Mapped {
        map: Mmap,
        file: Arc<File>,
        offset: u64,
        written: Written,
    },
    Memory {
        all: Arc<Vec<u8>>,
        part: Range<usize>,
    },
}

/// A file's length, and when its contents were changed last: seconds and nanoseconds.
type Written = (u64, i64, i64);

fn written(file: &File) -> io::Result<Written> {
    let inode = file.metadata()?;
    Ok((inode.len(), inode.mtime(), inode.mtime_nsec()))
}

impl Bytes {
    /// `length` bytes from `offset` on; read where the file system can't map.
    ///
    /// The file must be neither overwritten nor cut while the bytes are held.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before; what the system says otherwise.
    pub fn of(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        Self::mapped(Arc::new(file.try_clone()?), offset, length)
    }

    fn mapped(file: Arc<File>, offset: u64, length: usize) -> io::Result<Self> {
        // Before anything is read, so that a change behind it is noticed.
        let written = written(&file)?;
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| written.0 < end) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match map(&file, offset, length) {
            Ok(map) => Ok(Self(Source::Mapped {
                map,
                file,
                offset,
                written,
            })),
            Err(_) => {
                let mut bytes = vec![0; length];
                let mut file = &*file;
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }

    /// Whether the file was left alone since it was mapped, to the resolution of its file system's
    /// clock; bytes in memory always are. Another file that took its name does not count.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        match &self.0 {
            Source::Mapped {
                file, written: at, ..
            } => Ok(written(file)? == *at),
            Source::Memory { .. } => Ok(true),
        }
    }

    /// The same bytes as `part`, which must lie in these, in a map of their own: what is looked at
    /// there counts against this process's memory only until that is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when `part` lies elsewhere, and as [`of`](Self::of).
    pub fn again(&self, part: &[u8]) -> io::Result<Self> {
        let within = part.as_ptr().addr().checked_sub(self.as_ptr().addr());
        let end = within.and_then(|start| start.checked_add(part.len()));
        let (Some(start), Some(true)) = (within, end.map(|end| end <= self.len())) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        match &self.0 {
            Source::Mapped { file, offset, .. } => {
                Self::mapped(file.clone(), offset + start as u64, part.len())
            }
            Source::Memory { all, part: whole } => {
                let (all, start) = (all.clone(), whole.start + start);
                let part = start..start + part.len();
                Ok(Self(Source::Memory { all, part }))
            }
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        let part = 0..bytes.len();
        let all = Arc::new(bytes);
        Self(Source::Memory { all, part })
    }
}

#[allow(
    unsafe_code,
    reason = "maps a file; the text above says what that asks of others"
)]
fn map(file: &File, offset: u64, length: usize) -> io::Result<Mmap> {
    // SAFETY: the file is at least that long, and is not changed in place by the rules above.
    unsafe { MmapOptions::new().offset(offset).len(length).map(file) }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Mapped { map, .. } => map,
            Source::Memory { all, part } => all.get(part.clone()).unwrap_or_default(),
        }
    }
}

/// Memory of a device that its driver gives to whoever has the device open, such as the pixels that a
/// display shows.
#[derive(Debug)]
pub struct DeviceMemory(MmapMut);

impl DeviceMemory {
    /// `length` bytes where the driver says that they are. It gives them to this process alone, which
    /// takes each stretch once.
    ///
    /// # Errors
    /// What the system says.
    #[allow(
        unsafe_code,
        reason = "maps a device; what it gives is this process's own until it is unmapped"
    )]
    pub fn of(device: &File, offset: u64, length: usize) -> io::Result<Self> {
        let mut options = MmapOptions::new();
        // SAFETY: by the rule above nobody else writes there, and what the hardware does is to read.
        let map = unsafe { options.offset(offset).len(length).map_mut(device) };
        map.map(Self)
    }
}

impl Deref for DeviceMemory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for DeviceMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn any_stretch_of_a_file_is_its_bytes() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let bytes: Vec<u8> = (0..10_000_u32).map(|i| (i * 7) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        for (offset, length) in [
            (0, 10_000),
            (0, 1),
            (4_096, 4_096),
            (5_001, 4_999),
            (9_999, 1),
        ] {
            let found = Bytes::of(&file, offset as u64, length).unwrap();
            assert!(
                *found == bytes[offset..offset + length],
                "{length} from {offset}"
            );
        }
        assert!(Bytes::of(&file, 10_000, 0).unwrap().is_empty());
    }

    #[test]
    fn bytes_past_the_end_are_refused_not_mapped() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, [1; 100]).unwrap();
        let file = File::open(&path).unwrap();
        for (offset, length) in [(0, 101), (100, 1), (50, 51), (u64::MAX, 2)] {
            let error = Bytes::of(&file, offset, length).unwrap_err();
            assert_eq!(
                error.kind(),
                io::ErrorKind::UnexpectedEof,
                "{length} from {offset}"
            );
        }
    }

    #[test]
    fn a_part_of_bytes_is_the_same_again() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        let bytes: Vec<u8> = (0..10_000_u32).map(|i| (i * 7) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let mapped = Bytes::of(&File::open(&path).unwrap(), 100, 9_000).unwrap();
        for whole in [mapped, Bytes::from(bytes[100..9_100].to_vec())] {
            for part in [0..9_000, 4_000..4_001, 5_000..9_000, 9_000..9_000] {
                let again = whole.again(&whole[part.clone()]).unwrap();
                assert_eq!(again[..], bytes[100..][part.clone()]);
                let inner = again.len() / 3..again.len();
                let third = again.again(&again[inner.clone()]).unwrap();
                assert_eq!(third[..], bytes[100 + part.start..][inner]);
            }
            let error = whole.again(&bytes[..10]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }

    /// What replacing by rename is for.
    #[test]
    fn a_file_renamed_over_the_mapped_one_changes_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let (old, new) = (temp.path().join("old"), temp.path().join("new"));
        fs::write(&old, [1; 8_192]).unwrap();
        fs::write(&new, [2; 10]).unwrap();
        let mapped = Bytes::of(&File::open(&old).unwrap(), 0, 8_192).unwrap();
        fs::rename(&new, &old).unwrap();
        assert!(mapped.iter().all(|b| *b == 1));
    }

    /// A file in memory stands for a device: what is written to one map is what the other sees.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_written_to_a_devices_memory_is_there() {
        let device = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        device.as_file().set_len(3 * 4_096).unwrap();
        let mut memory = DeviceMemory::of(device.as_file(), 4_096, 5_000).unwrap();
        assert_eq!(memory.len(), 5_000);
        memory[4_999] = 7;
        memory[0] = 5;
        let read_only = File::open(device.path()).unwrap();
        let seen = Bytes::of(&read_only, 0, 3 * 4_096).unwrap();
        assert_eq!((seen[4_096], seen[4_096 + 4_999]), (5, 7));
        assert_eq!(seen.iter().filter(|byte| **byte != 0).count(), 2);
        let error = DeviceMemory::of(&read_only, 0, 4_096).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    /// A pipe has no length to map.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_can_not_be_mapped_is_read() {
        let file = File::open("/proc/self/maps").unwrap();
        // Its size is told as 0, so only the empty stretch is there.
        assert!(Bytes::of(&file, 0, 0).unwrap().is_empty());
        assert!(Bytes::of(&file, 0, 1).is_err());
    }

    #[test]
    fn what_is_written_in_place_is_noticed_and_a_rename_is_none() {
        let temp = tempfile::tempdir().unwrap();
        let (path, new) = (temp.path().join("file"), temp.path().join("new"));
        fs::write(&path, [1; 8_192]).unwrap();
        // Some time ago, so that the clock's resolution does not matter.
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        let mapped = Bytes::of(&file, 0, 8_192).unwrap();
        assert!(mapped.is_unchanged().unwrap());
        fs::write(&new, [2; 8_192]).unwrap();
        fs::rename(&new, &path).unwrap();
        assert!(mapped.is_unchanged().unwrap(), "another file");
        std::os::unix::fs::FileExt::write_at(&file, &[3], 100).unwrap();
        assert!(!mapped.is_unchanged().unwrap());
        assert!(Bytes::from(vec![1]).is_unchanged().unwrap());
    }
}
