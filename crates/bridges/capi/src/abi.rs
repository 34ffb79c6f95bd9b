//! The entry points: C's arguments in, checked as far as they can be, and a status out. All unsafe
//! code of this library stands here. What no check can see is asked of the caller, in the words of the
//! header: that an address which is not NULL is one of what it says, text ends in a zero byte, and as
//! many bytes may be read or written there as the caller states.
#![allow(
    unsafe_code,
    reason = "addresses from C are read and written here, by the rules above"
)]
#![allow(
    clippy::missing_safety_doc,
    reason = "the rules above are those of every entry point, and stand in the header once"
)]

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::slice;

use runtime::{FrameView, Modality, Options, PixelFormat, Precision, Prompt, YuvSpace};

use crate::calls;
use crate::failure::{self, Failure, status_of};
use crate::types::*;

/// Version of the library, such as `"0.1.0"`. The text lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Why the last call of this thread that failed did so: the cause and `hint: ` with a remedy, in one
/// line; empty before the first failure. The text lives until the next failure of this thread, or its
/// end. Calls that succeed leave it alone.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_last_error() -> *const c_char {
    failure::message()
}

/// The side of the model's input that suits these prompts, for `bedside_options`. This is what the
/// command `bedside segment` runs; without it, the bundle's own side runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_suited_side(
    bundle: *const c_char,
    prompts: *const bedside_prompt,
    count: usize,
    side: Option<&mut MaybeUninit<u32>>,
) -> bedside_status {
    give(side, "side", || {
        // SAFETY: the rules at the top.
        let (bundle, prompts) = unsafe { (text(bundle, "bundle")?, prompts_of(prompts, count)?) };
        calls::suited_side(bundle, &prompts)
    })
}

/// Open a bundle, the path of a file or folder in UTF-8, and see that its own test frames get their
/// masks here. That they did is remembered in the cache folder, so that later starts take a fraction
/// of a second. `options` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_segmenter_open(
    bundle: *const c_char,
    options: Option<&bedside_options>,
    segmenter: Option<&mut MaybeUninit<bedside_segmenter>>,
) -> bedside_status {
    give(segmenter, "segmenter", || {
        // SAFETY: the rules at the top.
        let bundle = unsafe { text(bundle, "bundle")? };
        let options = options.map(|options| {
            // SAFETY: the rules at the top.
            unsafe { options_of(options) }
        });
        calls::open(bundle, &options.transpose()?.unwrap_or_default())
    })
}

/// A further segmenter with the same weights in memory, to answer at the same time on another thread.
/// It takes the same prompts, and gives the same masks. Each is freed by itself.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_segmenter_share(
    segmenter: bedside_segmenter,
    shared: Option<&mut MaybeUninit<bedside_segmenter>>,
) -> bedside_status {
    give(shared, "shared", || calls::share(segmenter))
}

/// Free a segmenter; `{0}` is none, and done. Its prompts and answers stay. A call that another thread
/// is in ends first.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_segmenter_free(segmenter: bedside_segmenter) -> bedside_status {
    status_of(|| calls::free_segmenter(segmenter))
}

/// Make prompts ready, once, outside the frame loop. They serve every segmenter of that bundle and
/// precision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_prompts_new(
    segmenter: bedside_segmenter,
    prompts: *const bedside_prompt,
    count: usize,
    ready: Option<&mut MaybeUninit<bedside_prompts>>,
) -> bedside_status {
    give(ready, "ready", || {
        // SAFETY: the rules at the top.
        let prompts = unsafe { prompts_of(prompts, count)? };
        calls::prompts(segmenter, &prompts)
    })
}

/// Free prompts; `{0}` is none, and done.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_prompts_free(prompts: bedside_prompts) -> bedside_status {
    status_of(|| calls::free_prompts(prompts))
}

/// Describe a frame in one buffer: its planes follow one another, and `stride` is the first one's
/// bytes from one row to the next. Chroma planes have the stride of their share of a row, as V4L2's
/// single-planar formats have it. The YUV space is BT.601 with 16 to 235; set another in `frame`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_frame_of_buffer(
    width: u32,
    height: u32,
    format: i32,
    buffer: *const u8,
    size: usize,
    stride: usize,
    frame: Option<&mut MaybeUninit<bedside_frame>>,
) -> bedside_status {
    give(frame, "frame", || {
        // SAFETY: the rules at the top.
        let buffer = unsafe { items(buffer, size, "buffer")? };
        let view = FrameView::from_buffer(width, height, format_of(format)?, buffer, stride)?;
        let mut frame = bedside_frame {
            width,
            height,
            format,
            ..bedside_frame::default()
        };
        for (plane, view) in frame.planes.iter_mut().zip(view.planes()) {
            let rows = view.size().rows;
            *plane = bedside_plane {
                data: view.row(0).as_ptr(),
                size: (rows - 1) * view.stride() + view.size().row,
                stride: view.stride(),
            };
        }
        Ok(frame)
    })
}

/// Answer each prompt on a frame. The image encoder runs once, all prompts go through the decoder in
/// one batch, and each gets the mask that it would get alone. The answer is to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_segment(
    segmenter: bedside_segmenter,
    prompts: bedside_prompts,
    frame: Option<&bedside_frame>,
    answer: Option<&mut MaybeUninit<bedside_answer>>,
) -> bedside_status {
    give(answer, "answer", || {
        // SAFETY: the rules at the top.
        let frame = unsafe { view(frame)? };
        calls::segment(segmenter, prompts, frame)
    })
}

/// Run the image encoder on a frame, to ask several sets of prompts of it by `bedside_decode`, these and
/// others, now and later. What is encoded is good for this segmenter alone, takes some megabytes, and
/// is to be freed; the frame's memory is not needed any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_encode(
    segmenter: bedside_segmenter,
    prompts: bedside_prompts,
    frame: Option<&bedside_frame>,
    encoded: Option<&mut MaybeUninit<bedside_encoded>>,
) -> bedside_status {
    give(encoded, "encoded", || {
        // SAFETY: the rules at the top.
        let frame = unsafe { view(frame)? };
        calls::encode(segmenter, prompts, frame)
    })
}

/// Answer each prompt on an encoded frame, with the masks that `bedside_segment` gives, for the time of
/// the mask decoder alone. The model sees some objects' frames turned: a frame that was encoded for
/// others is refused with `BEDSIDE_STATUS_MISMATCH`. The answer is to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_decode(
    segmenter: bedside_segmenter,
    encoded: bedside_encoded,
    prompts: bedside_prompts,
    answer: Option<&mut MaybeUninit<bedside_answer>>,
) -> bedside_status {
    give(answer, "answer", || {
        calls::decode(segmenter, encoded, prompts)
    })
}

/// Free an encoded frame; `{0}` is none, and done.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_encoded_free(encoded: bedside_encoded) -> bedside_status {
    status_of(|| calls::free_encoded(encoded))
}

/// Ask for every object that the model knows in a modality and at a site, of which no two share a
/// pixel. Without a modality (NULL) it is the one that the frame looks like, without a site (NULL) all.
/// The answer is to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_recognize(
    segmenter: bedside_segmenter,
    frame: Option<&bedside_frame>,
    modality: *const c_char,
    site: *const c_char,
    answer: Option<&mut MaybeUninit<bedside_answer>>,
) -> bedside_status {
    give(answer, "answer", || {
        // SAFETY: the rules at the top.
        let (frame, modality, site) = unsafe { (view(frame)?, words(modality)?, words(site)?) };
        calls::recognize(
            segmenter,
            frame,
            modality.map(modality_of).transpose()?,
            site,
        )
    })
}

/// What an answer is as a whole.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_answer_summary(
    answer: bedside_answer,
    summary: Option<&mut MaybeUninit<bedside_summary>>,
) -> bedside_status {
    give(summary, "summary", || calls::summary(answer))
}

/// One finding of an answer, numbered from 0 in the order of the prompts.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_answer_finding(
    answer: bedside_answer,
    index: usize,
    finding: Option<&mut MaybeUninit<bedside_finding>>,
) -> bedside_status {
    give(finding, "finding", || calls::finding(answer, index))
}

/// A text of a finding in UTF-8, ended by a zero byte; `which` is a `bedside_text`. `length` is its
/// bytes before that, also where `size` bytes are too few for it. With `size` 0, `buffer` may be NULL
/// and `length` alone is told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_answer_text(
    answer: bedside_answer,
    index: usize,
    which: i32,
    buffer: *mut c_char,
    size: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> bedside_status {
    status_of(|| {
        let length = length.ok_or_else(|| Failure::null("length"))?.write(0);
        // SAFETY: the rules at the top.
        let room = unsafe { room(buffer.cast::<u8>(), size, "buffer")? };
        calls::text(answer, index, text_of(which)?, |text| {
            *length = text.len();
            copy_into(room, &[text.as_bytes(), &[0]])
        })
    })
}

/// The mask of a finding as bytes, 0 outside and 1 inside, in rows of the frame's width. `stride` is
/// the bytes in `buffer` from one row to the next; what lies between rows is left alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_answer_mask(
    answer: bedside_answer,
    index: usize,
    buffer: *mut u8,
    size: usize,
    stride: usize,
) -> bedside_status {
    status_of(|| {
        // SAFETY: the rules at the top.
        let room = unsafe { room(buffer, size, "buffer")? };
        calls::mask(answer, index, |mask| {
            let (width, height) = (mask.width() as usize, mask.height() as usize);
            let needed = (height - 1)
                .checked_mul(stride)
                .and_then(|n| n.checked_add(width));
            if stride < width || needed.is_none_or(|needed| needed > room.len()) {
                return Err(Failure::argument(format!(
                    "{size} bytes in rows of {stride} are too few for a mask of {width}x{height}; \
                     hint: pass at least {width} a row and {} in all",
                    width * height
                )));
            }
            for (row, pixels) in room.chunks_mut(stride).zip(mask.data().chunks(width)) {
                copy_into(row, &[pixels])?;
            }
            Ok(())
        })
    })
}

/// The mask of a finding as COCO's run lengths: column by column, runs of unset and set pixels in turn,
/// unset first. `length` is their number, also where there is room for fewer; 0 without a mask. With
/// `capacity` 0, `counts` may be NULL and `length` alone is told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bedside_answer_runs(
    answer: bedside_answer,
    index: usize,
    counts: *mut u32,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> bedside_status {
    status_of(|| {
        let length = length.ok_or_else(|| Failure::null("length"))?.write(0);
        // SAFETY: the rules at the top.
        let room = unsafe { room(counts, capacity, "counts")? };
        calls::runs(answer, index, |runs| {
            *length = runs.len();
            copy_into(room, &[runs])
        })
    })
}

/// Free an answer; `{0}` is none, and done.
#[unsafe(no_mangle)]
pub extern "C" fn bedside_answer_free(answer: bedside_answer) -> bedside_status {
    status_of(|| calls::free_answer(answer))
}

/// Write what `work` makes; all zero where it fails.
fn give<T: Default>(
    place: Option<&mut MaybeUninit<T>>,
    name: &str,
    work: impl FnOnce() -> Result<T, Failure>,
) -> bedside_status {
    status_of(|| {
        let place = place.ok_or_else(|| Failure::null(name))?;
        let place = place.write(T::default());
        *place = work()?;
        Ok(())
    })
}

/// Copy parts one after the other, all or nothing; without room, nothing is asked for.
fn copy_into<T: Copy>(room: &mut [MaybeUninit<T>], parts: &[&[T]]) -> Result<(), Failure> {
    let needed = parts.iter().map(|part| part.len()).sum();
    if room.is_empty() {
        return Ok(());
    }
    let given = room.len();
    let mut rest = room.get_mut(..needed).ok_or_else(|| {
        Failure::argument(format!(
            "room for {given} where {needed} are needed; hint: ask for the length first"
        ))
    })?;
    for part in parts {
        let (here, behind) = rest.split_at_mut(part.len());
        here.write_copy_of_slice(part);
        rest = behind;
    }
    Ok(())
}

/// # Safety
/// `start` is NULL or text that ends in a zero byte and stays as it is for `'a`.
unsafe fn words<'a>(start: *const c_char) -> Result<Option<&'a str>, Failure> {
    if start.is_null() {
        return Ok(None);
    }
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(start) };
    let text = text.to_str().map_err(|error| {
        Failure::argument(format!("text is not UTF-8: {error}; hint: encode it so"))
    })?;
    Ok(Some(text))
}

/// # Safety
/// As [`words`].
unsafe fn text<'a>(start: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: as above.
    unsafe { words(start)? }.ok_or_else(|| Failure::null(name))
}

/// # Safety
/// `start` is NULL or the first of `count` that may be read and stay as they are for `'a`.
unsafe fn items<'a, T>(start: *const T, count: usize, name: &str) -> Result<&'a [T], Failure> {
    check(start, count, name)?;
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: as above; not NULL, aligned, and no more bytes than an address can count.
    Ok(unsafe { slice::from_raw_parts(start, count) })
}

/// # Safety
/// `start` is NULL or the first of `count` that may be written, and that nobody else uses for `'a`.
unsafe fn room<'a, T>(
    start: *mut T,
    count: usize,
    name: &str,
) -> Result<&'a mut [MaybeUninit<T>], Failure> {
    check(start, count, name)?;
    if count == 0 {
        return Ok(&mut []);
    }
    // SAFETY: as above; not NULL, aligned, and no more bytes than an address can count.
    Ok(unsafe { slice::from_raw_parts_mut(start.cast(), count) })
}

/// What can be seen of a run of `count` from its address.
fn check<T>(start: *const T, count: usize, name: &str) -> Result<(), Failure> {
    if count == 0 {
        return Ok(());
    }
    if start.is_null() {
        return Err(Failure::null(name));
    }
    if !start.is_aligned() {
        return Err(Failure::argument(format!(
            "{name} is not aligned; hint: pass the address of such values"
        )));
    }
    let bytes = count.checked_mul(size_of::<T>());
    let end = bytes.filter(|bytes| isize::try_from(*bytes).is_ok());
    let end = end.and_then(|bytes| start.addr().checked_add(bytes));
    end.map(drop).ok_or_else(|| {
        Failure::argument(format!(
            "{count} of {name} are more than memory holds; hint: pass their number"
        ))
    })
}

/// # Safety
/// The texts of `options` are as [`words`] asks.
unsafe fn options_of(options: &bedside_options) -> Result<Options, Failure> {
    /// As the command has it: more is a mistake.
    const MOST_THREADS: u32 = 256;
    let mut own = Options::default();
    own.precision = match options.precision {
        n if n == bedside_precision::Default as i32 => None,
        n if n == bedside_precision::F32 as i32 => Some(Precision::F32),
        n if n == bedside_precision::F16 as i32 => Some(Precision::F16),
        n if n == bedside_precision::Int8 as i32 => Some(Precision::Int8),
        n => return Err(none_of("bedside_precision", n)),
    };
    own.side = Some(options.side).filter(|side| *side != 0);
    if options.threads > MOST_THREADS {
        let message = format!("{} threads; hint: at most {MOST_THREADS}", options.threads);
        return Err(Failure::new(bedside_status::Config, message));
    }
    own.threads = Some(options.threads as usize).filter(|threads| *threads != 0);
    own.presence = match options.presence {
        0.0 => None,
        all if all < 0.0 => Some(0.0),
        least => Some(least),
    };
    // SAFETY: as above.
    let (backend, cache) = unsafe { (words(options.backend)?, words(options.cache)?) };
    own.backend = backend.map(str::to_owned);
    own.cache = cache.map(Into::into);
    Ok(own)
}

/// # Safety
/// `prompts` is as [`items`] asks, and their texts as [`words`] asks.
unsafe fn prompts_of(prompts: *const bedside_prompt, count: usize) -> Result<Vec<Prompt>, Failure> {
    if count == 0 {
        let message = "no prompt; hint: ask for at least one";
        return Err(Failure::new(bedside_status::Prompt, message));
    }
    // SAFETY: as above.
    let prompts = unsafe { items(prompts, count, "prompts")? };
    let prompt = |prompt: &bedside_prompt| {
        // SAFETY: as above.
        let (text, modality, site) = unsafe {
            (
                text(prompt.text, "text of a prompt")?,
                words(prompt.modality)?,
                words(prompt.site)?,
            )
        };
        Ok(Prompt {
            text: text.to_owned(),
            modality: modality.map(modality_of).transpose()?,
            site: site.map(str::to_owned),
        })
    };
    prompts.iter().map(prompt).collect()
}

/// # Safety
/// The planes are as [`items`] asks.
unsafe fn view<'a>(frame: Option<&bedside_frame>) -> Result<FrameView<'a>, Failure> {
    let frame = frame.ok_or_else(|| Failure::null("frame"))?;
    let format = format_of(frame.format)?;
    let mut planes: [(&[u8], usize); BEDSIDE_PLANES] = [(&[], 0); BEDSIDE_PLANES];
    let used = planes
        .iter_mut()
        .zip(&frame.planes)
        .take(format.plane_count());
    for (plane, given) in used {
        // SAFETY: as above.
        let data = unsafe { items(given.data, given.size, "data of a plane")? };
        *plane = (data, given.stride);
    }
    let planes = planes.get(..format.plane_count()).unwrap_or_default();
    let view = FrameView::new(frame.width, frame.height, format, planes)?;
    Ok(view.with_yuv_space(yuv_space_of(frame.yuv_space)?))
}

fn format_of(number: i32) -> Result<PixelFormat, Failure> {
    Ok(match number {
        n if n == bedside_pixel_format::Rgb8 as i32 => PixelFormat::Rgb8,
        n if n == bedside_pixel_format::Gray8 as i32 => PixelFormat::Gray8,
        n if n == bedside_pixel_format::Nv12 as i32 => PixelFormat::Nv12,
        n if n == bedside_pixel_format::I420 as i32 => PixelFormat::I420,
        n if n == bedside_pixel_format::Yuyv as i32 => PixelFormat::Yuyv,
        n => return Err(none_of("bedside_pixel_format", n)),
    })
}

fn yuv_space_of(number: i32) -> Result<YuvSpace, Failure> {
    Ok(match number {
        n if n == bedside_yuv_space::Bt601Limited as i32 => YuvSpace::Bt601Limited,
        n if n == bedside_yuv_space::Bt601Full as i32 => YuvSpace::Bt601Full,
        n if n == bedside_yuv_space::Bt709Limited as i32 => YuvSpace::Bt709Limited,
        n if n == bedside_yuv_space::Bt709Full as i32 => YuvSpace::Bt709Full,
        n => return Err(none_of("bedside_yuv_space", n)),
    })
}

fn text_of(number: i32) -> Result<bedside_text, Failure> {
    use bedside_text::{MetaObject, Object, Prompt, Rle};
    let known = [Prompt, Object, MetaObject, Rle];
    let found = known.into_iter().find(|text| *text as i32 == number);
    found.ok_or_else(|| none_of("bedside_text", number))
}

fn modality_of(name: &str) -> Result<Modality, Failure> {
    let modality = name.parse::<Modality>();
    modality.map_err(|error| Failure::argument(error.to_string()))
}

fn none_of(enumeration: &str, number: i32) -> Failure {
    Failure::argument(format!("{number} is no {enumeration}; hint: use its names"))
}
