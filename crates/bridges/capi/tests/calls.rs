//! Calls in any order, with any handles and sizes: each gets the status that the header promises.
#![allow(unsafe_code, reason = "the C interface is called as C does")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which may panic as tests do"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

use bedside::*;
use proptest::prelude::*;
use runtime::{FrameView, MIN_SIDE, PixelFormat};

/// The cheapest way to run the edge bundle.
struct Model {
    segmenter: bedside_segmenter,
    prompts: bedside_prompts,
}

impl Model {
    fn open() -> Self {
        let bundle =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../models/edge/edge.bedside");
        let bundle = CString::new(bundle.to_str().unwrap()).unwrap();
        let options = bedside_options {
            precision: bedside_precision::Int8 as i32,
            side: 192,
            threads: 1,
            // Of any frame there is a mask.
            presence: -1.0,
            backend: ptr::null(),
            cache: ptr::null(),
        };
        let mut segmenter = MaybeUninit::uninit();
        // SAFETY: text that ends in a zero byte.
        let status = unsafe {
            bedside_segmenter_open(bundle.as_ptr(), Some(&options), Some(&mut segmenter))
        };
        assert_eq!(status, bedside_status::Ok, "{}", message());
        // SAFETY: written by every call.
        let segmenter = unsafe { segmenter.assume_init() };
        let prompts = prompts(segmenter, c"polyp").unwrap();
        Self { segmenter, prompts }
    }
}

fn message() -> String {
    // SAFETY: text that lives until the next failure of this thread.
    let message = unsafe { CStr::from_ptr(bedside_last_error()) };
    message.to_str().unwrap().to_owned()
}

/// What a call wrote, where it succeeded; where not, that it wrote nothing but zeros.
fn given<T: Default + PartialEq>(
    call: impl FnOnce(Option<&mut MaybeUninit<T>>) -> bedside_status,
) -> Result<T, bedside_status> {
    let mut place = MaybeUninit::uninit();
    let status = call(Some(&mut place));
    // SAFETY: written by every call.
    let value = unsafe { place.assume_init() };
    if status == bedside_status::Ok {
        return Ok(value);
    }
    assert!(
        value == T::default() && message().contains("hint:"),
        "{}",
        message()
    );
    Err(status)
}

fn prompts(segmenter: bedside_segmenter, text: &CStr) -> Result<bedside_prompts, bedside_status> {
    let prompt = bedside_prompt {
        text: text.as_ptr(),
        modality: ptr::null(),
        site: ptr::null(),
    };
    // SAFETY: one prompt, of text that ends in a zero byte.
    given(|ready| unsafe { bedside_prompts_new(segmenter, &raw const prompt, 1, ready) })
}

fn segment(
    segmenter: bedside_segmenter,
    prompts: bedside_prompts,
    frame: &bedside_frame,
) -> Result<bedside_answer, bedside_status> {
    // SAFETY: the planes of these tests are as large as they say.
    given(|answer| unsafe { bedside_segment(segmenter, prompts, Some(frame), answer) })
}

/// Kinds of handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Segmenter,
    Prompts,
    Encoded,
    Answer,
}

impl Kind {
    fn free(self, id: u64) -> bedside_status {
        match self {
            Self::Segmenter => bedside_segmenter_free(bedside_segmenter { id }),
            Self::Prompts => bedside_prompts_free(bedside_prompts { id }),
            Self::Encoded => bedside_encoded_free(bedside_encoded { id }),
            Self::Answer => bedside_answer_free(bedside_answer { id }),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Share(usize),
    Prompts(usize),
    Segment(usize, usize),
    Encode(usize, usize),
    Decode(usize, usize, usize),
    Read(usize),
    Free(Kind, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0_usize..12;
    prop_oneof![
        any.clone().prop_map(Step::Share),
        any.clone().prop_map(Step::Prompts),
        (any.clone(), any.clone()).prop_map(|(s, p)| Step::Segment(s, p)),
        (any.clone(), any.clone()).prop_map(|(s, p)| Step::Encode(s, p)),
        (any.clone(), any.clone(), any.clone()).prop_map(|(s, e, p)| Step::Decode(s, e, p)),
        any.clone().prop_map(Step::Read),
        (
            prop_oneof![
                Just(Kind::Segmenter),
                Just(Kind::Prompts),
                Just(Kind::Encoded),
                Just(Kind::Answer)
            ],
            any
        )
            .prop_map(|(kind, at)| Step::Free(kind, at)),
    ]
}

fn gray(side: u32, pixels: &[u8]) -> bedside_frame {
    let mut frame = bedside_frame {
        width: side,
        height: side,
        format: bedside_pixel_format::Gray8 as i32,
        ..bedside_frame::default()
    };
    frame.planes[0] = bedside_plane {
        data: pixels.as_ptr(),
        size: pixels.len(),
        stride: side as usize,
    };
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A handle works until it is freed, for what it is, and for nothing else ever.
    #[test]
    fn handles_are_what_they_are_until_they_are_freed(steps in prop::collection::vec(step(), 1..40)) {
        let model = Model::open();
        let pixels = [99; 16 * 16];
        let frame = gray(16, &pixels);
        // All ids that there ever were, and which of them are alive.
        let mut ids = vec![0, u64::MAX, model.segmenter.id, model.prompts.id];
        let mut alive = BTreeMap::from([
            (model.segmenter.id, Kind::Segmenter),
            (model.prompts.id, Kind::Prompts),
        ]);
        // The segmenter that each encoded frame is of.
        let mut encoded_by = BTreeMap::new();
        for step in steps {
            let id = |at: usize| ids[at % ids.len()];
            let is = |id: u64, kind| alive.get(&id) == Some(&kind);
            let unknown = Err(bedside_status::Handle);
            let made = match step {
                Step::Share(at) => {
                    let segmenter = bedside_segmenter { id: id(at) };
                    let shared = given(|shared| bedside_segmenter_share(segmenter, shared));
                    prop_assert_eq!(shared.is_ok(), is(segmenter.id, Kind::Segmenter));
                    shared.map(|made| (made.id, Kind::Segmenter))
                }
                Step::Prompts(at) => {
                    let segmenter = bedside_segmenter { id: id(at) };
                    let ready = prompts(segmenter, c"polyp");
                    prop_assert_eq!(ready.is_ok(), is(segmenter.id, Kind::Segmenter));
                    ready.map(|made| (made.id, Kind::Prompts))
                }
                Step::Segment(s, p) => {
                    let (segmenter, prompts) = (bedside_segmenter { id: id(s) }, bedside_prompts { id: id(p) });
                    let answer = segment(segmenter, prompts, &frame);
                    let right = is(segmenter.id, Kind::Segmenter) && is(prompts.id, Kind::Prompts);
                    prop_assert_eq!(answer.is_ok(), right);
                    answer.map(|made| (made.id, Kind::Answer))
                }
                Step::Encode(s, p) => {
                    let (segmenter, prompts) = (bedside_segmenter { id: id(s) }, bedside_prompts { id: id(p) });
                    // SAFETY: the plane is as large as it says.
                    let encoded = given(|encoded| unsafe { bedside_encode(segmenter, prompts, Some(&frame), encoded) });
                    let right = is(segmenter.id, Kind::Segmenter) && is(prompts.id, Kind::Prompts);
                    prop_assert_eq!(encoded.is_ok(), right);
                    encoded.map(|made| {
                        encoded_by.insert(made.id, segmenter.id);
                        (made.id, Kind::Encoded)
                    })
                }
                Step::Decode(s, e, p) => {
                    let (segmenter, prompts) = (bedside_segmenter { id: id(s) }, bedside_prompts { id: id(p) });
                    let encoded = bedside_encoded { id: id(e) };
                    let answer = given(|answer| bedside_decode(segmenter, encoded, prompts, answer));
                    let right = is(segmenter.id, Kind::Segmenter)
                        && is(encoded.id, Kind::Encoded)
                        && is(prompts.id, Kind::Prompts);
                    let own = encoded_by.get(&encoded.id) == Some(&segmenter.id);
                    prop_assert_eq!(answer.is_ok(), right && own);
                    match answer {
                        Err(bedside_status::Mismatch) if right && !own => unknown,
                        other => other.map(|made: bedside_answer| (made.id, Kind::Answer)),
                    }
                }
                Step::Read(at) => {
                    let answer = bedside_answer { id: id(at) };
                    let mut mask = [9; 16 * 16];
                    // SAFETY: as many bytes as stated.
                    let status = unsafe { bedside_answer_mask(answer, 0, mask.as_mut_ptr(), mask.len(), 16) };
                    let read = status == bedside_status::Ok;
                    prop_assert_eq!(read, mask.iter().all(|v| *v < 2));
                    // Where the model drew no pixel there is no mask.
                    let absent = status == bedside_status::Argument;
                    prop_assert_eq!(read || absent, is(answer.id, Kind::Answer));
                    unknown
                }
                Step::Free(kind, at) => {
                    let id = id(at);
                    let status = kind.free(id);
                    let freed = is(id, kind);
                    prop_assert_eq!(status == bedside_status::Ok, freed || id == 0);
                    if freed {
                        alive.remove(&id);
                    }
                    unknown
                }
            };
            match made {
                Ok((id, kind)) => {
                    prop_assert!(!ids.contains(&id));
                    ids.push(id);
                    alive.insert(id, kind);
                }
                Err(status) => prop_assert_eq!(status, bedside_status::Handle),
            }
        }
        for (id, kind) in alive {
            prop_assert_eq!(kind.free(id), bedside_status::Ok);
        }
    }
}

const FORMATS: [PixelFormat; 5] = [
    PixelFormat::Rgb8,
    PixelFormat::Gray8,
    PixelFormat::Nv12,
    PixelFormat::I420,
    PixelFormat::Yuyv,
];

/// A plane that fits, or is short by a byte in all or in a row, or has a number that no plane has.
fn plane(row: usize, rows: usize, (padding, missing): (isize, isize)) -> (Box<[u8]>, usize) {
    let stride = row.saturating_add_signed(padding);
    let size = (rows.saturating_sub(1).saturating_mul(stride) + row).saturating_sub_signed(missing);
    (vec![120; size.min(1 << 20)].into_boxed_slice(), stride)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Each is answered or refused as the crate answers or refuses the same planes.
    #[test]
    fn frames_of_any_size_format_and_stride_are_answered_or_refused(
        width in prop_oneof![9 => 12_u32..70, 1 => any::<u32>()],
        height in prop_oneof![9 => 12_u32..70, 1 => any::<u32>()],
        format in -1_i32..6,
        slack in prop::array::uniform3((-1_isize..9, prop_oneof![9 => -9_isize..1, 1 => 1_isize..9])),
    ) {
        thread_local!(static MODEL: Model = Model::open());
        let known = usize::try_from(format).ok().and_then(|at| FORMATS.get(at));
        let sizes = known.unwrap_or(&PixelFormat::I420).planes(width.min(99), height.min(99));
        let [a, b, c] = [0, 1, 2].map(|i| plane(sizes[i].row, sizes[i].rows, slack[i]));
        let planes = [&a, &b, &c].map(|(data, stride)| (&**data, *stride));
        let expected = known.map_or(bedside_status::Argument, |format| {
            let view = FrameView::new(width, height, *format, &planes[..format.plane_count()]);
            let large = |view: FrameView<'_>| view.width().min(view.height()) >= MIN_SIDE;
            if view.is_ok_and(large) { bedside_status::Ok } else { bedside_status::Frame }
        });
        let planes = planes.map(|(data, stride)| bedside_plane {
            data: data.as_ptr(),
            size: data.len(),
            stride,
        });
        let frame = bedside_frame { width, height, format, yuv_space: 0, planes };
        let found = MODEL.with(|model| segment(model.segmenter, model.prompts, &frame));
        prop_assert_eq!(found.err().unwrap_or(bedside_status::Ok), expected);
        prop_assert_eq!(bedside_answer_free(found.unwrap_or_default()), bedside_status::Ok);
    }
}
