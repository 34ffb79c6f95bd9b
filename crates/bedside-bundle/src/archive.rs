//! The one zip layout that bundles have, written and read by the byte.
//!
//! Zip readers search for their directory, tolerate bytes around it, and believe one of two
//! headers; two readers may see two different bundles in one file. Here every byte outside the
//! parts follows from the list of (name, size, CRC-32), so reading is: take that list from the
//! directory, write down the headers it stands for, and compare. docs/bundle-format.md has the
//! table of fields.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use bedside_map::Bytes;

use crate::error::{BundleError, ErrorKind};
use crate::name;

/// Most parts in a bundle.
pub const MAX_PARTS: usize = 1024;
/// Most bytes of a bundle, one less than 4 GiB: every offset fits the 32 bits of plain zip.
pub const MAX_BUNDLE_BYTES: u64 = u32::MAX as u64;

const LOCAL: usize = 30;
const CENTRAL: usize = 46;
const END: usize = 22;
const MAX_DIRECTORY: usize = (MAX_PARTS + 1) * (CENTRAL + name::MAX_NAME);

const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
const CENTRAL_SIGNATURE: u32 = 0x0201_4b50;
const END_SIGNATURE: u32 = 0x0605_4b50;
/// Zip 2.0.
const VERSION_NEEDED: u16 = 20;
/// Zip 2.0 on Unix, so that the mode below counts.
const VERSION_MADE: u16 = 3 << 8 | VERSION_NEEDED;
/// 1 January 1980, the earliest that zip knows: no clock in the bytes.
const DATE: u16 = 0x0021;
/// A plain file, read by all and written by its owner.
const MODE: u32 = 0o100_644;

/// A file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) bytes: u32,
    pub(crate) crc32: u32,
}

impl Entry {
    /// The fields that local and central header share, from "version needed" to "name length".
    fn common(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(24);
        let u16s = [VERSION_NEEDED, 0, 0, 0, DATE];
        b.extend(u16s.iter().flat_map(|v| v.to_le_bytes()));
        b.extend(
            [self.crc32, self.bytes, self.bytes]
                .iter()
                .flat_map(|v| v.to_le_bytes()),
        );
        // Names have at most 128 bytes.
        b.extend((self.name.len() as u16).to_le_bytes());
        b
    }

    fn local_header(&self) -> Vec<u8> {
        let mut b = LOCAL_SIGNATURE.to_le_bytes().to_vec();
        b.extend(self.common());
        b.extend([0; 2]); // no extra field
        b.extend(self.name.as_bytes());
        b
    }

    fn central_header(&self, offset: u32) -> Vec<u8> {
        let mut b = CENTRAL_SIGNATURE.to_le_bytes().to_vec();
        b.extend(VERSION_MADE.to_le_bytes());
        b.extend(self.common());
        b.extend([0; 8]); // no extra field, no comment, disk 0, no internal attributes
        b.extend((MODE << 16).to_le_bytes());
        b.extend(offset.to_le_bytes());
        b.extend(self.name.as_bytes());
        b
    }

    /// Bytes of the local header and the content.
    fn span(&self) -> u64 {
        (LOCAL + self.name.len()) as u64 + u64::from(self.bytes)
    }
}

/// Directory and end record of an archive with these entries.
fn tail(entries: &[Entry]) -> Result<Vec<u8>, BundleError> {
    let mut offset = 0;
    let mut directory = Vec::new();
    for entry in entries {
        directory.extend(entry.central_header(offset32(offset)?));
        offset += entry.span();
    }
    let start = offset32(offset)?;
    let length = offset32(directory.len() as u64)?;
    offset32(offset + (directory.len() + END) as u64)?;
    // `MAX_PARTS` is checked by reader and packer.
    let count = entries.len() as u16;
    directory.extend(END_SIGNATURE.to_le_bytes());
    directory.extend([0; 4]); // disk 0 of disk 0
    directory.extend([count, count].iter().flat_map(|v| v.to_le_bytes()));
    directory.extend(length.to_le_bytes());
    directory.extend(start.to_le_bytes());
    directory.extend([0; 2]); // no comment
    Ok(directory)
}

fn offset32(offset: u64) -> Result<u32, BundleError> {
    u32::try_from(offset).map_err(|_| too_large())
}

pub(crate) fn too_large() -> BundleError {
    BundleError::new(
        ErrorKind::TooLarge,
        "the bundle has 4 GiB or more",
        "pack fewer precisions or sizes in one bundle",
    )
}

/// Writes an archive whose entries are known beforehand.
pub(crate) struct Writer<'a, W> {
    to: W,
    entries: &'a [Entry],
    tail: Vec<u8>,
}

impl<'a, W: Write> Writer<'a, W> {
    pub(crate) fn new(to: W, entries: &'a [Entry]) -> Result<Self, BundleError> {
        Ok(Self {
            to,
            entries,
            tail: tail(entries)?,
        })
    }

    /// Write everything; `content` opens the bytes of each entry in turn.
    pub(crate) fn write<R: Read>(
        mut self,
        mut content: impl FnMut(&Entry) -> Result<R, BundleError>,
    ) -> Result<W, BundleError> {
        let wrote = |e| BundleError::io("write the bundle", e);
        for entry in self.entries {
            self.to.write_all(&entry.local_header()).map_err(wrote)?;
            let mut from = content(entry)?.take(u64::from(entry.bytes));
            std::io::copy(&mut from, &mut self.to).map_err(wrote)?;
        }
        self.to.write_all(&self.tail).map_err(wrote)?;
        self.to.flush().map_err(wrote)?;
        Ok(self.to)
    }
}

/// An archive whose every byte outside the contents is as it must be.
#[derive(Debug)]
pub(crate) struct Archive<R> {
    from: R,
    entries: Vec<Entry>,
}

impl<R: Read + Seek> Archive<R> {
    /// Read the directory and the headers, not the contents.
    pub(crate) fn open(mut from: R) -> Result<Self, BundleError> {
        let length = from.seek(SeekFrom::End(0)).map_err(read_failed)?;
        if length > MAX_BUNDLE_BYTES {
            return Err(too_large());
        }
        let Some(end_at) = length.checked_sub(END as u64) else {
            return Err(no_zip());
        };
        let end = read_at(&mut from, end_at, END)?;
        let mut fields = Fields(&end);
        if fields.u32() != Some(END_SIGNATURE) {
            let starts_as_zip = read_at(&mut from, 0, 4)? == LOCAL_SIGNATURE.to_le_bytes();
            return Err(if starts_as_zip { cut_off() } else { no_zip() });
        }
        let (_disks, count, _) = (fields.u32(), fields.u16(), fields.u16());
        let (Some(count), Some(size), Some(start)) = (count, fields.u32(), fields.u32()) else {
            return Err(no_zip());
        };
        if count == u16::MAX || size == u32::MAX || start == u32::MAX {
            return Err(too_large());
        }
        if usize::from(count) > MAX_PARTS + 1 || size as usize > MAX_DIRECTORY {
            return Err(BundleError::new(
                ErrorKind::TooLarge,
                format!("{count} files, at most {MAX_PARTS} parts are allowed"),
                "leave out what the runtime does not need",
            ));
        }
        if u64::from(start) + u64::from(size) != end_at {
            return Err(BundleError::new(
                ErrorKind::Archive,
                "there are bytes before or after the archive's own, or some are missing",
                "copy the bundle again; do not sign or wrap it inside the file",
            ));
        }
        let directory = read_at(&mut from, u64::from(start), size as usize)?;
        let mut fields = Fields(&directory);
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(central_entry(&mut fields)?);
        }
        name::check_distinct(entries.iter().map(|e| e.name.as_str()))?;

        let mut written = directory;
        written.extend(end);
        let mut offset = 0;
        let mut canonical = tail(&entries)? == written;
        for entry in &entries {
            let header = entry.local_header();
            // A directory may claim sizes that reach past the file.
            canonical = canonical
                && offset + header.len() as u64 <= end_at
                && read_at(&mut from, offset, header.len())? == header;
            offset += entry.span();
        }
        if canonical && offset == u64::from(start) {
            Ok(Self { from, entries })
        } else {
            Err(layout())
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The content of the entry of that name, its CRC-32 checked; `None` if there is none.
    pub(crate) fn read(&mut self, name: &str) -> Option<Result<Vec<u8>, BundleError>> {
        let (entry, offset) = self.find(name)?;
        let (bytes, crc32) = (entry.bytes as usize, entry.crc32);
        let content = read_at(&mut self.from, offset, bytes);
        Some(content.and_then(|content| check_crc32(&content, crc32).map(|()| content)))
    }

    /// The entry of that name, and where its content starts.
    fn find(&self, name: &str) -> Option<(&Entry, u64)> {
        let mut offset = 0;
        for entry in &self.entries {
            if entry.name == name {
                return Some((entry, offset + (LOCAL + name.len()) as u64));
            }
            offset += entry.span();
        }
        None
    }
}

impl Archive<File> {
    /// The content of the entry of that name, not looked at, and its CRC-32.
    pub(crate) fn map(&self, name: &str) -> Option<Result<(Bytes, u32), BundleError>> {
        let (entry, offset) = self.find(name)?;
        let mapped = Bytes::of(&self.from, offset, entry.bytes as usize);
        Some(
            mapped
                .map(|bytes| (bytes, entry.crc32))
                .map_err(read_failed),
        )
    }
}

fn check_crc32(content: &[u8], crc32: u32) -> Result<(), BundleError> {
    match crc32fast::hash(content) == crc32 {
        true => Ok(()),
        false => Err(damaged()),
    }
}

pub(crate) fn damaged() -> BundleError {
    BundleError::new(
        ErrorKind::Corrupt,
        "the bytes are damaged (CRC-32)",
        "copy the bundle again",
    )
}

/// One entry of the directory; what no bundle has is refused by its own name.
fn central_entry(fields: &mut Fields<'_>) -> Result<Entry, BundleError> {
    let mut read = || {
        let signature = fields.u32()?;
        let (_made, _needed) = (fields.u16()?, fields.u16()?);
        let (flags, method) = (fields.u16()?, fields.u16()?);
        let _time_and_date = fields.u32()?;
        let (crc32, packed, bytes) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let name_length = fields.u16()?;
        let (_extra, _comment, _disk, _internal) =
            (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
        let (attributes, offset) = (fields.u32()?, fields.u32()?);
        let name = String::from_utf8_lossy(fields.bytes(usize::from(name_length))?).into_owned();
        (signature == CENTRAL_SIGNATURE).then_some((
            Entry { name, bytes, crc32 },
            flags,
            method,
            packed,
            attributes,
            offset,
        ))
    };
    let (entry, flags, method, packed, attributes, offset) = read().ok_or_else(layout)?;
    name::check(&entry.name)?;
    let refuse = |kind, message: &str| {
        Err(
            BundleError::new(kind, message, "make the bundle with `bedside pack`")
                .in_part(&entry.name),
        )
    };
    if [entry.bytes, packed, offset].contains(&u32::MAX) {
        return Err(too_large().in_part(&entry.name));
    }
    if method != 0 || packed != entry.bytes || flags & 1 != 0 {
        return refuse(
            ErrorKind::Compressed,
            "the entry is compressed or encrypted",
        );
    }
    if ![0, 0o100_000].contains(&(attributes >> 16 & 0o170_000)) {
        return refuse(
            ErrorKind::Link,
            "the entry is a link or another thing than a file",
        );
    }
    Ok(entry)
}

/// Little-endian fields from front to back.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(u16::from_le_bytes(*head))
    }

    fn u32(&mut self) -> Option<u32> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(u32::from_le_bytes(*head))
    }
}

/// `length` bytes at `offset`; callers bound `length` by the file's own.
fn read_at(
    from: &mut (impl Read + Seek),
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, BundleError> {
    from.seek(SeekFrom::Start(offset)).map_err(read_failed)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).map_err(read_failed)?;
    Ok(bytes)
}

fn read_failed(e: std::io::Error) -> BundleError {
    BundleError::io("read the bundle", e)
}

fn no_zip() -> BundleError {
    BundleError::new(
        ErrorKind::Archive,
        "not a bedside bundle (no zip archive)",
        "give a .bedside file made with `bedside pack`, or its unpacked folder",
    )
}

fn cut_off() -> BundleError {
    BundleError::new(
        ErrorKind::Archive,
        "the file is cut off, or has bytes after the archive's end",
        "copy the bundle again and compare sizes",
    )
}

fn layout() -> BundleError {
    BundleError::new(
        ErrorKind::Archive,
        "a header is damaged, or another zip tool wrote the file",
        "copy the bundle again, or make it with `bedside pack`",
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{self, Cursor};
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let entries: Vec<Entry> = files
            .iter()
            .map(|(name, data)| Entry {
                name: (*name).to_owned(),
                bytes: data.len() as u32,
                crc32: crc32fast::hash(data),
            })
            .collect();
        let mut contents = files.iter().map(|(_, data)| data.as_slice());
        let writer = Writer::new(Vec::new(), &entries).unwrap();
        writer.write(|_| Ok(contents.next().unwrap())).unwrap()
    }

    /// Counts the bytes that are read.
    struct Counting(Cursor<Vec<u8>>, Rc<Cell<usize>>);

    impl Read for Counting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.0.read(buffer)?;
            self.1.set(self.1.get() + n);
            Ok(n)
        }
    }

    impl Seek for Counting {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn opening_reads_headers_only() {
        let bytes = archive(&[
            ("manifest.json", b"{}".to_vec()),
            ("big", vec![7; 50 << 20]),
        ]);
        let count = Rc::new(Cell::new(0));
        let mut archive = Archive::open(Counting(Cursor::new(bytes), count.clone())).unwrap();
        assert!(count.get() < 400, "{} bytes read", count.get());
        assert_eq!(archive.read("manifest.json").unwrap().unwrap(), b"{}");
        assert!(count.get() < 400, "{} bytes read", count.get());
        assert_eq!(archive.read("big").unwrap().unwrap().len(), 50 << 20);
        assert!(archive.read("small").is_none());
    }

    #[test]
    fn sizes_past_plain_zip_are_refused() {
        let entry = |name: &str, bytes| Entry {
            name: name.to_owned(),
            bytes,
            crc32: 0,
        };
        let too_many = [entry("a", u32::MAX / 2), entry("b", u32::MAX / 2)];
        let Err(error) = Writer::new(Vec::new(), &too_many) else {
            panic!("written")
        };
        assert_eq!(error.kind(), ErrorKind::TooLarge);

        let mut claims = archive(&[("a", b"x".to_vec())]);
        let end = claims.len() - END;
        for (field, kind) in [(12, ErrorKind::TooLarge), (16, ErrorKind::TooLarge)] {
            let whole = claims.clone();
            claims[end + field..end + field + 4].copy_from_slice(&[0xff; 4]);
            assert_eq!(Archive::open(Cursor::new(claims)).unwrap_err().kind(), kind);
            claims = whole;
        }
    }

    #[test]
    fn garbage_around_the_archive_is_refused() {
        let good = archive(&[("a", b"content".to_vec())]);
        let before = [b"\x7fELF".as_slice(), &good].concat();
        let after = [good.as_slice(), b"\0"].concat();
        let twice = [good.as_slice(), &good].concat();
        for bad in [before, after, twice, b"PK".to_vec(), vec![], vec![0; 100]] {
            assert_eq!(
                Archive::open(Cursor::new(bad)).unwrap_err().kind(),
                ErrorKind::Archive
            );
        }
        for length in 0..good.len() {
            let cut = good[..length].to_vec();
            assert_eq!(
                Archive::open(Cursor::new(cut)).unwrap_err().kind(),
                ErrorKind::Archive
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Archive::open(Cursor::new(bytes.clone()));
            // Past the first gates: an end record that fits whatever is before it.
            let length = bytes.len() as u32;
            let start = length / 3;
            bytes.extend(END_SIGNATURE.to_le_bytes());
            bytes.extend([0, 0, 0, 0, 2, 0, 2, 0]);
            bytes.extend((length - start).to_le_bytes());
            bytes.extend(start.to_le_bytes());
            bytes.extend([0, 0]);
            let _ = Archive::open(Cursor::new(bytes));
        }

        #[test]
        fn overwritten_headers_are_refused(at in 0..200usize, bytes in any::<[u8; 4]>()) {
            let good = archive(&[("a", vec![1; 9]), ("b/c", vec![2; 5])]);
            let mut bad = good.clone();
            let at = at % (good.len() - 4);
            bad[at..at + 4].copy_from_slice(&bytes);
            if let Ok(mut archive) = Archive::open(Cursor::new(bad)) {
                // Whatever still opens gives the same bytes or an error for each.
                for (name, content) in [("a", vec![1; 9]), ("b/c", vec![2; 5])] {
                    match archive.read(name) {
                        Some(Ok(got)) => prop_assert_eq!(got, content),
                        Some(Err(e)) => prop_assert_eq!(e.kind(), ErrorKind::Corrupt),
                        None => prop_assert!(false, "{} is gone", name),
                    }
                }
            }
        }
    }
}
