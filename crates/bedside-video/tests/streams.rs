//! Y4M, raw frames and phantoms: what is read, refused and written.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bedside_core::{Clock, Frame, ManualClock, PixelFormat, YuvSpace};
use bedside_video::sink::{Sink, SinkErrorKind, SinkOptions, Y4mSink, open_sink};
use bedside_video::{CaptureFormat, Coding, OpenOptions, Pace, Source, SourceErrorKind, open};
use proptest::prelude::*;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new(Arc::new(ManualClock::default()));
    options.pace = Pace::Fast;
    options
}

fn refusal(spec: &str, options: &OpenOptions) -> String {
    let error = open(spec, options).err().expect("refused");
    assert_eq!(error.kind(), SourceErrorKind::Fatal, "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.contains("hint: "), "{text}");
    text
}

/// A Y4M file with this text and these bytes in it.
fn file(folder: &Path, parts: &[&[u8]]) -> String {
    let path = folder.join("clip.y4m");
    fs::write(&path, parts.concat()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn all(source: &mut dyn Source) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = source.next(Vec::new()).unwrap() {
        frames.push(frame);
    }
    frames
}

fn written(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink = Y4mSink::new("memory", &mut bytes, 30.0);
    for frame in frames {
        sink.write(frame).unwrap();
    }
    sink.finish().unwrap();
    drop(sink);
    bytes
}

fn formats() -> impl Strategy<Value = PixelFormat> {
    prop_oneof![
        Just(PixelFormat::Rgb8),
        Just(PixelFormat::Gray8),
        Just(PixelFormat::Nv12),
        Just(PixelFormat::I420),
        Just(PixelFormat::Yuyv)
    ]
}

fn spaces() -> impl Strategy<Value = YuvSpace> {
    prop_oneof![
        Just(YuvSpace::Bt601Limited),
        Just(YuvSpace::Bt601Full),
        Just(YuvSpace::Bt709Limited),
        Just(YuvSpace::Bt709Full)
    ]
}

prop_compose! {
    fn frames()(width in 1u32..12, height in 1u32..12, format in formats(), space in spaces())
        (data in prop::collection::vec(any::<u8>(), format.byte_len(width, height)),
         width in Just(width), height in Just(height), format in Just(format), space in Just(space))
        -> Frame {
        Frame::new(width, height, format, data).unwrap().with_yuv_space(space)
    }
}

proptest! {
    /// Whatever is written comes back: I420 to the bit, with its meaning; and written once more
    /// the bytes are the same.
    #[test]
    fn y4m_to_y4m_is_equal_to_the_bit(frame in frames()) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = written(&[frame.clone(), frame.clone()]);
        let mut source = open(&file(folder.path(), &[&bytes]), &options()).unwrap();
        let read = all(&mut *source);
        prop_assert_eq!(read.len(), 2);
        prop_assert_eq!((read[0].width(), read[0].height()), (frame.width(), frame.height()));
        if frame.format() == PixelFormat::I420 {
            prop_assert_eq!(&read[1], &frame);
        }
        prop_assert_eq!(written(&read), bytes);
    }

    /// Changed and cut files give frames, errors or an end, but no panic and no endless loop.
    #[test]
    fn damaged_y4m_ends(
        frame in frames(),
        cut in 0usize..400,
        changes in prop::collection::vec((0usize..400, any::<u8>()), 0..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = written(&[frame.clone(), frame]);
        bytes.truncate(cut);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if let Ok(mut source) = open(&file(folder.path(), &[&bytes]), &options()) {
            let mut calls = 0;
            loop {
                calls += 1;
                prop_assert!(calls < 500);
                match source.next(Vec::new()) {
                    Ok(None) => break,
                    Err(error) if error.kind() == SourceErrorKind::Fatal => break,
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let folder = tempfile::tempdir().unwrap();
        refusal(&file(folder.path(), &[&bytes]), &options());
        refusal(&file(folder.path(), &[b"YUV4MPEG2 C", &bytes]), &options());
    }
}

#[test]
fn headers_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let read = |header: &str, planes: &[u8]| {
        let path = file(
            folder.path(),
            &[header.as_bytes(), b"\nFRAME Ixyz\n", planes],
        );
        let mut source = open(&path, &options()).unwrap();
        let info = source.info().clone();
        (info, all(&mut *source).remove(0))
    };

    let (info, frame) = read("YUV4MPEG2 W4 H2 F30000:1001 Ip A1:1", &[7; 12]);
    assert_eq!(frame.data(), [7; 12]);
    assert_eq!(info.frames_per_second, Some(30000.0 / 1001.0));
    assert_eq!(
        (info.format, info.yuv_space, info.live),
        (PixelFormat::I420, YuvSpace::Bt601Limited, false)
    );

    let (info, _) = read("YUV4MPEG2 W2 H720 F0:0 XCOLORRANGE=FULL", &[0; 2160]);
    assert_eq!(info.yuv_space, YuvSpace::Bt709Full);
    assert_eq!(info.frames_per_second, None);

    let (info, frame) = read("YUV4MPEG2 W3 H2 F25:1 Cmono", &[1, 2, 3, 4, 5, 6]);
    assert_eq!(info.format, PixelFormat::Gray8);
    assert_eq!(frame.data(), [1, 2, 3, 4, 5, 6]);

    // 4:2:2 of 2x3: rows of one sample, the last odd one alone.
    let (info, frame) = read(
        "YUV4MPEG2 W2 H3 C422",
        &[1, 2, 3, 4, 5, 6, 10, 21, 30, 40, 50, 60],
    );
    assert_eq!(frame.data(), [1, 2, 3, 4, 5, 6, 16, 30, 45, 60]);
    assert!(info.name.to_string().ends_with("4:2:2 halved to 4:2:0"));

    // 4:4:4 of 3x1.
    let (_, frame) = read("YUV4MPEG2 W3 H1 C444", &[1, 2, 3, 10, 20, 30, 40, 60, 80]);
    assert_eq!(frame.data(), [1, 2, 3, 15, 30, 50, 80]);
}

#[test]
fn what_is_not_read_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |header: &str| refusal(&file(folder.path(), &[header.as_bytes()]), &options());
    assert!(refused("YUV4MPEG2 W4 H4 C420p10\n").contains("8 bits"));
    assert!(refused("YUV4MPEG2 W4 H4 C444alpha\n").contains("-pix_fmt yuv420p"));
    assert!(refused("YUV4MPEG2 W0 H4\n").contains("0x4"));
    assert!(refused("YUV4MPEG2 W99999 H4\n").contains("99999x4"));
    assert!(refused("YUV4MPEG2 W4\n").contains("4x0"));
    assert!(refused("").contains("empty"));
    assert!(refused(&"YUV4MPEG2 ".repeat(1000)).contains("is not Y4M"));

    assert!(refusal("clip.xyz", &options()).starts_with("source: "));
    assert!(refusal("rtsp://camera/1", &options()).contains("ffmpeg -i"));
    assert!(refusal("phantom:liver", &options()).contains("polyp"));
    assert!(refusal("phantom:polyp,size=4", &options()).contains("640x480"));
    assert!(refusal("phantom:polyp,fps=0", &options()).contains("fps=0"));
    assert!(refusal("phantom:polyp,zoom=2", &options()).contains("zoom=2"));
    let known = folder.path().join("notes.txt");
    fs::write(&known, "text").unwrap();
    assert!(refusal(known.to_str().unwrap(), &options()).contains("phantom:polyp"));
    for raw in [
        "4x4",
        "4x4:nv21",
        "4:nv12",
        "4x4:nv12@x",
        "0x4:nv12",
        "4x4:nv12@0",
    ] {
        let error = raw.parse::<bedside_video::RawFormat>().unwrap_err();
        assert!(error.to_string().contains("1280x720:nv12@30"), "{error}");
    }
}

#[test]
fn a_capture_format_is_read_in_parts_and_written_as_it_is_read() {
    let parse = |text: &str| text.parse::<CaptureFormat>();
    for text in [
        "1280x720:mjpeg@30",
        "640x360@30",
        "640x360",
        "mjpeg",
        "yuyv@29.97",
        "@25",
    ] {
        assert_eq!(parse(text).unwrap().to_string(), text);
    }
    assert_eq!(parse(":mjpeg").unwrap(), parse("mjpeg").unwrap());
    assert_eq!(parse("640x480").unwrap().size, Some((640, 480)));
    assert_eq!(parse("640x480:mjpeg").unwrap().coding, Some(Coding::Jpeg));
    for text in [
        "",
        ":",
        "640",
        "640x",
        "h264",
        "nv12:yuyv",
        "@0",
        "640x480@",
        "0x4:nv12",
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("1280x720:mjpeg@30"), "{text}: {error}");
        assert!(
            error.contains("nv12, yuyv, i420, mjpeg, gray8, rgb8"),
            "{error}"
        );
    }
}

#[test]
fn a_cut_tail_is_told_once_and_the_rest_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let header = b"YUV4MPEG2 W4 H2 F25:1\nFRAME\nabcdefghijkl";
    for tail in [&b"FRAME\nabc"[..], b"FRA", b"FRAME\n"] {
        let mut source = open(&file(folder.path(), &[header, tail]), &options()).unwrap();
        let frame = source.next(Vec::new()).unwrap().unwrap();
        assert_eq!(frame.data(), b"abcdefghijkl");
        let error = source.next(Vec::new()).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Broken);
        assert_eq!(source.next(Vec::new()), Ok(None));
    }
}

#[test]
fn raw_frames_are_what_the_options_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.bin");
    fs::write(&path, (0..30).collect::<Vec<u8>>()).unwrap();
    let mut options = options();
    options.raw = Some("4x2:nv12@12.5".parse().unwrap());
    assert_eq!(options.raw.unwrap().to_string(), "4x2:nv12@12.5");
    let mut source = open(path.to_str().unwrap(), &options).unwrap();
    assert_eq!(source.info().frames_per_second, Some(12.5));
    let first = source.next(Vec::new()).unwrap().unwrap();
    let memory = first.data().as_ptr();
    let second = source.next(first.into_data()).unwrap().unwrap();
    assert_eq!(second.data(), (12..24).collect::<Vec<u8>>());
    assert_eq!(second.data().as_ptr(), memory, "the buffer serves again");
    let error = source.next(Vec::new()).unwrap_err();
    assert_eq!(error.kind(), SourceErrorKind::Broken);
    assert_eq!(source.next(Vec::new()), Ok(None));
}

#[test]
fn a_file_can_begin_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(
        folder.path(),
        &[b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabFRAME\ncd"],
    );
    let mut options = options();
    options.repeat = true;
    let mut source = open(&path, &options).unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.extend(source.next(Vec::new()).unwrap().unwrap().into_data());
    }
    assert_eq!(seen, b"abcdabcdab");

    let empty = file(folder.path(), &[b"YUV4MPEG2 W2 H1 Cmono\n"]);
    let mut source = open(&empty, &options).unwrap();
    assert_eq!(source.next(Vec::new()), Ok(None), "not for ever");
}

/// A named pipe, and what holds its writing end.
fn pipe(folder: &Path) -> (String, std::path::PathBuf) {
    let path = folder.join("pipe");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    (path.to_str().unwrap().to_owned(), path)
}

#[test]
fn a_silent_pipe_is_told_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, path) = pipe(folder.path());
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(0);
    let writer = thread::spawn(move || {
        let mut pipe = File::options().write(true).open(path).unwrap();
        pipe.write_all(b"YUV4MPEG2 W4 H2 F25:1\nFRAME\nabcd")
            .unwrap();
        wait.recv().unwrap();
        pipe.write_all(b"efghijklFRA").unwrap();
        wait.recv().unwrap();
        pipe.write_all(b"ME\nABCDEFGHIJKL").unwrap();
    });
    let mut options = options();
    let clock = Arc::new(ManualClock::default());
    options.clock = clock.clone();
    options.pace = Pace::Own;
    let mut source = open(&spec, &options).unwrap();
    assert!(source.info().live);
    for whole in [b"abcdefghijkl", b"ABCDEFGHIJKL"] {
        let began = Instant::now();
        let error = source.next(Vec::new()).unwrap_err();
        assert_eq!(error.kind(), SourceErrorKind::Silent, "{error}");
        assert!(began.elapsed() > Duration::from_millis(900), "it waits");
        clock.advance(Duration::from_millis(40));
        go.send(()).unwrap();
        // The rest may take the writer longer than the source's patience.
        let frame = loop {
            match source.next(Vec::new()) {
                Err(error) if error.kind() == SourceErrorKind::Silent => {}
                other => break other.unwrap().unwrap(),
            }
        };
        assert_eq!(frame.data(), whole);
        assert_eq!(frame.captured(), clock.now());
    }
    writer.join().unwrap();
    assert_eq!(source.next(Vec::new()), Ok(None));
}

#[test]
fn phantoms_are_what_their_options_say() {
    let mut source = open(
        "phantom:breast-tumor,seed=5,size=80x64,fps=12.5",
        &options(),
    )
    .unwrap();
    let info = source.info().clone();
    assert_eq!(
        (info.width, info.height, info.format),
        (80, 64, PixelFormat::Gray8)
    );
    assert_eq!(info.frames_per_second, Some(12.5));
    let phantom = bedside_phantom::Phantom::new(bedside_phantom::PhantomConfig {
        kind: bedside_phantom::PhantomKind::BreastTumor,
        width: 80,
        height: 64,
        seed: 5,
        frame_rate: 12.5,
        target: true,
    })
    .unwrap();
    for index in 0..3 {
        let frame = source.next(Vec::new()).unwrap().unwrap();
        assert_eq!(frame.data(), phantom.frame_at(index).frame.data());
    }
}

#[test]
fn a_files_frames_are_there_as_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.y4m");
    let mut sink = open_sink(path.to_str().unwrap(), &SinkOptions::default()).unwrap();
    let frame = |side| Frame::new(side, 2, PixelFormat::Gray8, vec![9; 2 * side as usize]).unwrap();
    sink.write(&frame(4)).unwrap();
    let mut source = open(path.to_str().unwrap(), &options()).unwrap();
    assert_eq!(all(&mut *source).len(), 1);
    let other = sink.write(&frame(6)).unwrap_err();
    assert_eq!(other.kind(), SinkErrorKind::Frame, "{other}");
    sink.write(&frame(4)).unwrap();
    sink.finish().unwrap();
    let mut source = open(path.to_str().unwrap(), &options()).unwrap();
    assert_eq!(all(&mut *source).len(), 2);
}

#[test]
fn a_command_gets_the_video_and_its_end_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.y4m");
    let frame = Frame::new(64, 64, PixelFormat::Gray8, vec![9; 4096]).unwrap();

    let mut sink = open_sink(
        &format!("| cat > {}", path.display()),
        &SinkOptions::default(),
    )
    .unwrap();
    sink.write(&frame).unwrap();
    sink.finish().unwrap();
    assert_eq!(fs::read(&path).unwrap(), {
        let mut bytes = Vec::new();
        Y4mSink::new("memory", &mut bytes, 25.0)
            .write(&frame)
            .unwrap();
        bytes
    });

    for (command, told) in [("exit 7", "exit status: 7"), ("exit 0", "ended before")] {
        let mut sink = open_sink(&format!("| {command}"), &SinkOptions::default()).unwrap();
        // More than a pipe holds: the end is noticed at the latest when it is full.
        let error = (0..100)
            .find_map(|_| sink.write(&frame).err())
            .expect("noticed");
        assert_eq!(error.kind(), SinkErrorKind::Closed);
        assert!(error.to_string().contains(told), "{error}");
        assert!(sink.write(&frame).is_err());
    }
    let mut sink = open_sink("| cat > /dev/null; exit 3", &SinkOptions::default()).unwrap();
    sink.write(&frame).unwrap();
    let error = sink.finish().unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
}

#[test]
fn a_command_that_does_not_end_is_broken_off() {
    let frame = Frame::new(64, 64, PixelFormat::Gray8, vec![9; 4096]).unwrap();
    // One that reads nothing, and one that takes no hint either.
    for command in ["sleep 1000", "trap '' TERM; sleep 1000 & wait; wait"] {
        let mut sink = open_sink(&format!("| {command}"), &SinkOptions::default()).unwrap();
        let mut breaker = sink.breaker().unwrap();
        let frame = frame.clone();
        let writer = thread::spawn(move || {
            while sink.write(&frame).is_ok() {}
            sink
        });
        while !writer.is_finished() {
            breaker();
            thread::sleep(Duration::from_millis(50));
        }
        assert!(writer.join().unwrap().finish().is_err());
        breaker();
    }
}

#[test]
fn a_sink_that_is_none_is_refused() {
    for spec in ["out.mp4", "out", "", "/no/such/folder/out.y4m"] {
        let error = open_sink(spec, &SinkOptions::default())
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains("hint: "), "{error}");
    }
}

#[test]
fn p_21_errors_of_sinks_tell_no_path_and_no_command() {
    let folder = tempfile::Builder::new()
        .prefix("ZZPATIENTZZ")
        .tempdir()
        .unwrap();
    let there = folder.path().display();
    let frame = Frame::new(64, 64, PixelFormat::Gray8, vec![9; 4096]).unwrap();
    let other = Frame::new(32, 32, PixelFormat::Gray8, vec![9; 1024]).unwrap();
    for spec in [
        format!("{there}/missing/a.y4m"),
        format!("{there}/missing/a.mjpeg"),
        format!("{there}/a.mp4"),
        format!("| cat > {there}/a.y4m; exit 3"),
        format!("| : {there}/a.y4m"),
        format!("{there}/a.y4m"),
        format!("{there}/a.mjpeg"),
    ] {
        let mut errors = Vec::new();
        match open_sink(&spec, &SinkOptions::default()) {
            Err(error) => errors.push(error),
            Ok(mut sink) => {
                errors.extend((0..100).find_map(|_| sink.write(&frame).err()));
                errors.extend(sink.write(&other).err());
                errors.extend(sink.finish().err());
            }
        }
        assert!(!errors.is_empty(), "{spec}");
        for error in errors {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("ZZPATIENTZZ"), "{text}");
        }
    }
}

/// Standard input is the same as a pipe by name: checked in a process of its own.
#[test]
fn standard_input_is_read() {
    const CHILD: &str = "BEDSIDE_VIDEO_TEST_STDIN";
    if std::env::var_os(CHILD).is_some() {
        let mut source = open("-", &options()).unwrap();
        assert!(source.info().live);
        assert_eq!(all(&mut *source).len(), 2);
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "streams::standard_input_is_read"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabFRAME\ncd")
        .unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
