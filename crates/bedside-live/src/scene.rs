//! What a frame shows that no model should be asked about, by simple rules.
//!
//! * no signal: the frame is of one shade all over, or it stands still and nearly all of it is of one
//!   dark shade, as where a receiver or monitor puts words or a logo on an empty screen
//! * test pattern: bars, that is columns which hardly change from row to row, of clearly different
//!   shades
//! * out of the body, for endoscopy alone: mucosa is red; a lit frame in which few pixels are
//!   redder than green and blue shows a room, not a lumen
//!
//! A rule must hold for [`HOLD`] frames before it pauses, and fail as long before it ends.

use bedside::{ColourModel, Frame, Pause};
use bedside_vision::colour::YuvToRgb;
use bedside_vision::flow::Luma;

/// Frames that a finding must persist.
const HOLD: u32 = 3;
/// Shades of one colour differ by less than this standard deviation.
const FLAT: f32 = 2.0;
/// Shades of a screen's background, side by side...
const BACKGROUND: usize = 7;
/// ...all below this one: pictures of slides may be white nearly all over...
const DARK: usize = 128;
/// ...in at least this share of the pixels. Sectors of ultrasound leave less than 0.75 black.
const BACKGROUND_SHARE: f32 = 0.9;
/// A pixel that stands still changes by no more than this...
const NOISE: u8 = 6;
/// ...and in a frame that does, at least this share of them.
const STILL: f32 = 0.99;
/// Bars change by less than this standard deviation from row to row...
const BAR: f32 = 3.0;
/// ...in at least this share of the columns...
const BARS: f32 = 0.95;
/// ...and the columns' shades by more than this from each other.
const BAR_RANGE: f32 = 60.0;
/// Bars fill at least this share of the height, from the top.
const BAR_HEIGHT: f32 = 0.6;
/// Pixels darker than this are not lit.
const LIT: u32 = 40;
/// Below this share of lit pixels nothing is said: the lens may touch the wall.
const LIT_SHARE: f32 = 0.05;
/// Red exceeds green and blue by this factor, in percent, where it is red.
const REDDER: u32 = 110;
/// Below this share of red ones among the lit pixels the frame is outside the body.
const RED_SHARE: f32 = 0.1;
/// Columns and rows of the pixels looked at one by one.
const SAMPLES: (u32, u32) = (64, 48);

/// Follows the frames and says when to pause.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    endoscopy: bool,
    screen: Screen,
    /// What the newest frames show, and for how many of them.
    seen: Option<Pause>,
    count: u32,
    pause: Option<Pause>,
}

impl Scene {
    /// Whether prompts are for endoscopy, where a frame can be outside the body.
    pub(crate) fn set_endoscopy(&mut self, endoscopy: bool) {
        self.endoscopy = endoscopy;
    }

    /// Whether the newest frame shows something not to be asked about, even if not for long yet.
    pub(crate) fn suspects(&self) -> bool {
        self.seen.is_some() || self.screen.appeared
    }

    /// Why to pause, after this frame.
    pub(crate) fn look(&mut self, frame: &Frame, luma: &Luma) -> Option<Pause> {
        let seen = self.see(frame, luma);
        self.count = if seen == self.seen { self.count + 1 } else { 1 };
        self.seen = seen;
        if self.count >= HOLD {
            self.pause = seen;
        }
        self.pause
    }

    fn see(&mut self, frame: &Frame, luma: &Luma) -> Option<Pause> {
        if self.screen.look(frame) || spread(luma.rows().flatten()).1 < FLAT {
            return Some(Pause::NoSignal);
        }
        if bars(luma) {
            return Some(Pause::TestPattern);
        }
        (self.endoscopy && out_of_body(frame)).then_some(Pause::OutOfBody)
    }
}

/// Watches for a screen with little on it.
#[derive(Debug, Default)]
struct Screen {
    /// Some pixels' luminance in the newest frame and in the one before.
    newest: Vec<u8>,
    before: Vec<u8>,
    /// Whether the newest frame is nearly all of one dark shade.
    empty: bool,
    /// Whether it is the first such: a dark frame of a moving picture looks the same.
    appeared: bool,
}

impl Screen {
    /// Whether the newest frame shows one, that is an empty frame which stands still.
    fn look(&mut self, frame: &Frame) -> bool {
        std::mem::swap(&mut self.newest, &mut self.before);
        let rgb = frame.format().colour_model() == ColourModel::Rgb;
        self.newest.clear();
        self.newest
            .extend(samples(frame).map(|[first, g, b]| match rgb {
                true => {
                    ((77 * u32::from(first) + 150 * u32::from(g) + 29 * u32::from(b)) >> 8) as u8
                }
                false => first,
            }));
        let mut histogram = [0_u32; 256];
        for luminance in &self.newest {
            if let Some(count) = histogram.get_mut(usize::from(*luminance)) {
                *count += 1;
            }
        }
        let backgrounds = histogram.windows(BACKGROUND).take(DARK - BACKGROUND + 1);
        let background = backgrounds.map(|shades| shades.iter().sum()).max();
        let share = |count: u32| count as f32 / self.newest.len().max(1) as f32;
        let empty = share(background.unwrap_or(0)) >= BACKGROUND_SHARE;
        let pairs = self.newest.iter().zip(&self.before);
        let kept = pairs.filter(|(a, b)| a.abs_diff(**b) <= NOISE).count();
        let still = share(kept as u32) >= STILL;
        (self.appeared, self.empty) = (empty && !self.empty, empty);
        empty && still
    }
}

/// Pixels spread evenly over a frame, in its own colours.
fn samples(frame: &Frame) -> impl Iterator<Item = [u8; 3]> {
    let view = frame.view();
    let (columns, rows) = SAMPLES;
    let places = (0..rows).flat_map(move |row| (0..columns).map(move |column| (column, row)));
    places.filter_map(move |(column, row)| {
        let x = view.width() * (2 * column + 1) / (2 * columns);
        let y = view.height() * (2 * row + 1) / (2 * rows);
        view.pixel(x, y)
    })
}

/// Mean and standard deviation.
fn spread<'a>(values: impl Iterator<Item = &'a f32>) -> (f32, f32) {
    let (mut n, mut sum, mut squares) = (0.0_f64, 0.0, 0.0);
    for value in values {
        let value = f64::from(*value);
        n += 1.0;
        sum += value;
        squares += value * value;
    }
    let mean = sum / n.max(1.0);
    let variance = squares / n.max(1.0) - mean * mean;
    (mean as f32, variance.max(0.0).sqrt() as f32)
}

fn bars(luma: &Luma) -> bool {
    let (width, height) = luma.size();
    let top = (height as f32 * BAR_HEIGHT) as usize;
    let (mut even, mut least, mut most) = (0_u32, f32::MAX, f32::MIN);
    // Nearly no frame passes the first columns, so this is seldom done for all of them.
    for x in 0..width {
        let column = luma.rows().take(top).filter_map(|row| row.get(x));
        let (mean, deviation) = spread(column);
        if deviation < BAR {
            even += 1;
            least = least.min(mean);
            most = most.max(mean);
        } else if (x as u32 + 1 - even) as f32 > (1.0 - BARS) * width as f32 {
            return false;
        }
    }
    top > 1 && most - least > BAR_RANGE
}

fn out_of_body(frame: &Frame) -> bool {
    let to_rgb = match frame.format().colour_model() {
        // Gray frames have no colour to judge by.
        ColourModel::Gray => return false,
        ColourModel::Rgb => None,
        ColourModel::Yuv => Some(YuvToRgb::new(frame.yuv_space())),
    };
    let (mut all, mut lit, mut red) = (0_u32, 0_u32, 0_u32);
    for pixel in samples(frame) {
        let rgb = to_rgb.map_or(pixel, |to_rgb| to_rgb.rgb(pixel));
        let [r, g, b] = rgb.map(u32::from);
        all += 1;
        if r.max(g).max(b) >= LIT {
            lit += 1;
            red += u32::from(100 * r > REDDER * g && 100 * r > REDDER * b);
        }
    }
    lit as f32 > LIT_SHARE * all as f32 && (red as f32) < RED_SHARE * lit as f32
}

#[cfg(test)]
mod tests {
    use bedside::{PixelFormat, YuvSpace};

    use super::*;

    fn colour_frame(format: PixelFormat, [y, u, v]: [u8; 3], rgb: [u8; 3]) -> Frame {
        let (width, height) = (64, 48);
        let n = (width * height) as usize;
        // A little light and shade, so that the frame is not of one colour.
        let luma = |i: usize| y - (i % 31) as u8;
        let data: Vec<u8> = match format {
            PixelFormat::Rgb8 => (0..n)
                .flat_map(|i| rgb.map(|c| c.saturating_sub((i % 31) as u8)))
                .collect(),
            PixelFormat::Gray8 => (0..n).map(luma).collect(),
            PixelFormat::Nv12 => (0..n)
                .map(luma)
                .chain([u, v].into_iter().cycle().take(n / 2))
                .collect(),
            PixelFormat::I420 => (0..n)
                .map(luma)
                .chain(vec![u; n / 4])
                .chain(vec![v; n / 4])
                .collect(),
            _ => (0..n / 2)
                .flat_map(|i| [luma(2 * i), u, luma(2 * i + 1), v])
                .collect(),
        };
        let frame = Frame::new(width, height, format, data).unwrap();
        frame.with_yuv_space(YuvSpace::Bt601Full)
    }

    #[test]
    fn p_08_a_room_is_outside_the_body_and_mucosa_is_not_in_every_format() {
        // BT.601, full range, of a bluish gray and of a reddish tone.
        let room = ([150, 140, 120], [139, 151, 171]);
        let mucosa = ([120, 110, 165], [172, 99, 88]);
        for format in [
            PixelFormat::Rgb8,
            PixelFormat::Nv12,
            PixelFormat::I420,
            PixelFormat::Yuyv,
        ] {
            for ((yuv, rgb), outside) in [(room, true), (mucosa, false)] {
                let frame = colour_frame(format, yuv, rgb);
                let mut luma = Luma::default();
                luma.reduce(&frame);
                let mut scene = Scene::default();
                let mut last = |endoscopy| {
                    scene.set_endoscopy(endoscopy);
                    (0..HOLD)
                        .map(|_| scene.look(&frame, &luma))
                        .last()
                        .flatten()
                };
                assert_eq!(
                    last(true),
                    outside.then_some(Pause::OutOfBody),
                    "{format:?}"
                );
                assert_eq!(last(false), None, "ultrasound has no rule for colour");
            }
        }
        let gray = colour_frame(PixelFormat::Gray8, [150, 128, 128], [0; 3]);
        assert!(!out_of_body(&gray));
    }

    /// Strokes, as words have them, in the middle of a screen of one colour; moved by so many pixels.
    fn screen(format: PixelFormat, background: [u8; 3], words: [u8; 3], moved: usize) -> Frame {
        let (width, height) = (192_usize, 144_usize);
        let inside = |x: usize, y: usize| {
            (60..78).contains(&y) && (40..150).contains(&x) && (x + moved) % 7 < 3
        };
        let places = (0..width * height).map(|i| inside(i % width, i / width));
        let colours = places.map(|inside| if inside { words } else { background });
        let (width, height) = (width as u32, height as u32);
        let frame = match format {
            PixelFormat::Gray8 => {
                let data = colours.map(|[luma, ..]| luma).collect();
                Frame::new(width, height, format, data)
            }
            _ => Frame::new(
                width,
                height,
                PixelFormat::Rgb8,
                colours.flatten().collect(),
            ),
        };
        frame.unwrap()
    }

    /// What the last of these frames is paused for, and whether the first was suspected.
    fn told(frames: impl IntoIterator<Item = Frame>) -> (Option<Pause>, bool) {
        let (mut scene, mut luma) = (Scene::default(), Luma::default());
        let (mut pause, mut first) = (None, None);
        for frame in frames {
            luma.reduce(&frame);
            pause = scene.look(&frame, &luma);
            first.get_or_insert(scene.suspects());
        }
        (pause, first.unwrap_or_default())
    }

    #[test]
    fn p_08_words_on_an_empty_screen_are_no_signal() {
        let white = [255; 3];
        let rgb = PixelFormat::Rgb8;
        for (format, background, words) in [
            (rgb, [0, 0, 255], white),
            (rgb, [0, 0, 0], [255, 0, 0]),
            (rgb, [30, 60, 110], [250, 220, 0]),
            (PixelFormat::Gray8, [16; 3], white),
            (PixelFormat::Gray8, [41; 3], white),
        ] {
            let still = (0..=HOLD).map(|_| screen(format, background, words, 0));
            let expected = (Some(Pause::NoSignal), true);
            assert_eq!(told(still), expected, "{background:?}");
            // A dark picture that lives.
            let moving = (0..=HOLD).map(|i| screen(format, background, words, 2 * i as usize));
            assert_eq!(told(moving).0, None, "{background:?}");
        }
        let slide = (0..=HOLD).map(|_| screen(rgb, [240; 3], [120, 60, 120], 0));
        assert_eq!(told(slide), (None, false), "tissue on a white slide");
    }
}
