//! JPEG-LS (ITU-T T.87): gray and colours, lossless and nearly so, whichever way components are
//! interleaved. Not read, as no DICOM file has them: mapping tables, restart intervals, point
//! transforms, components of other sizes than the frame.

/// Most components of a frame.
const MOST_COMPONENTS: usize = 3;
/// Contexts of regular mode.
const CONTEXTS: usize = 365;
/// Most bits by which a context may scale errors: what does not fit 16 bits of a sample is damage.
const MOST_SCALE: u32 = 16;
/// Lengths of runs, in bits, by how often one was as long (A.2.1, table).
const RUNS: [u32; 32] = [
    0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13,
    14, 15,
];

const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const RESTARTS: u8 = 0xdd;
const APPLICATION_8: u8 = 0xe8;
const FRAME: u8 = 0xf7;
const PRESETS: u8 = 0xf8;

/// The samples of a whole picture of that size and number of components, those of a pixel side by
/// side; none where it is another one or damaged.
pub(crate) fn decode(bytes: &[u8], size: (u32, u32), components: usize) -> Option<Vec<u16>> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    let (width, height) = (size.0 as usize, size.1 as usize);
    let mut frame: Option<Frame> = None;
    let mut presets = Presets::default();
    let mut samples = vec![0; width * height * components];
    let mut decoded = vec![false; components];
    loop {
        let (marker, after) = next_marker(rest)?;
        if marker == END {
            return decoded.iter().all(|decoded| *decoded).then_some(samples);
        }
        let (length, after) = after.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes(*length)).checked_sub(2)?;
        let (body, after) = after.split_at_checked(length)?;
        rest = after;
        match marker {
            FRAME => {
                let found = Frame::read(body)?;
                let told = (u32::from(found.width), u32::from(found.height));
                if told != size || found.components.len() != components {
                    return None;
                }
                frame = Some(found);
            }
            PRESETS => presets = Presets::read(body)?,
            SCAN => {
                let frame = frame.as_ref()?;
                let scan = Scan::read(body, frame, &presets)?;
                let end = end_of_scan(rest);
                let (coded, after) = rest.split_at_checked(end)?;
                rest = after;
                scan.decode(coded, frame, &mut samples)?;
                for place in scan.components {
                    *decoded.get_mut(place)? = true;
                }
            }
            RESTARTS if body.iter().any(|b| *b != 0) => return None,
            // A colour transform of one vendor's, which is no part of the standard.
            APPLICATION_8 if body.starts_with(b"mrfx") && body.get(4) != Some(&0) => return None,
            _ => {}
        }
    }
}

/// The next marker; any number of bytes may fill up before it.
fn next_marker(mut bytes: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        bytes = match *bytes {
            [0xff, 0xff, ..] => bytes.get(1..)?,
            [0xff, marker @ 0x80..=0xff, ..] => return Some((marker, bytes.get(2..)?)),
            _ => return None,
        };
    }
}

/// Where coded bits end: at a marker, which no byte of them can be taken for.
fn end_of_scan(bytes: &[u8]) -> usize {
    let pairs = bytes.windows(2);
    let mut marker = pairs
        .enumerate()
        .filter(|(_, pair)| matches!(pair, [0xff, 0x80..=0xff]));
    marker.next().map_or(bytes.len(), |(at, _)| at)
}

/// What SOF55 says.
struct Frame {
    width: u16,
    height: u16,
    precision: u8,
    /// Names of the components.
    components: Vec<u8>,
}

impl Frame {
    fn read(body: &[u8]) -> Option<Self> {
        let [precision @ 2..=16, y, h, x, w, count, rest @ ..] = body else {
            return None;
        };
        let told = rest.as_chunks::<3>().0;
        // Each has the frame's own size.
        let plain = told.iter().all(|[_, sampling, _]| *sampling == 0x11);
        if told.len() != usize::from(*count) || told.is_empty() || !plain {
            return None;
        }
        Some(Self {
            width: u16::from_be_bytes([*x, *w]),
            height: u16::from_be_bytes([*y, *h]),
            precision: *precision,
            components: told.iter().map(|[name, ..]| *name).collect(),
        })
    }
}

/// What LSE says; 0 for what follows from the precision.
#[derive(Default)]
struct Presets {
    most: u16,
    thresholds: [u16; 3],
    reset: u16,
}

impl Presets {
    fn read(body: &[u8]) -> Option<Self> {
        let [1, values @ ..] = body else {
            return None;
        };
        let words: Vec<u16> = values
            .as_chunks::<2>()
            .0
            .iter()
            .map(|w| u16::from_be_bytes(*w))
            .collect();
        let [most, t1, t2, t3, reset] = *words else {
            return None;
        };
        Some(Self {
            most,
            thresholds: [t1, t2, t3],
            reset,
        })
    }
}

/// How the components of a scan follow each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interleave {
    /// There is one.
    None,
    Line,
    Sample,
}

/// What SOS says, and what follows from it and what came before.
struct Scan {
    /// Places of the components in a pixel.
    components: Vec<usize>,
    interleave: Interleave,
    coding: Coding,
}

/// Parameters of a scan, by their names in A.2.1.
#[derive(Clone, Copy)]
struct Coding {
    near: i32,
    /// MAXVAL.
    most: i32,
    thresholds: [i32; 3],
    reset: i64,
    range: i32,
    /// Bits of a mapped error that is written as it is.
    plain_bits: u32,
    limit: u32,
}

impl Scan {
    fn read(body: &[u8], frame: &Frame, presets: &Presets) -> Option<Self> {
        let (count, rest) = body.split_first()?;
        let (names, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let [near, interleave, 0] = *rest else {
            return None;
        };
        let place = |[name, table]: &[u8; 2]| {
            let place = frame.components.iter().position(|known| known == name);
            place.filter(|_| *table == 0)
        };
        let components: Option<Vec<usize>> = names.as_chunks().0.iter().map(place).collect();
        let components = components.filter(|all| (1..=MOST_COMPONENTS).contains(&all.len()))?;
        let interleave = match (interleave, components.len()) {
            (0..=2, 1) => Interleave::None,
            (1, _) => Interleave::Line,
            (2, _) => Interleave::Sample,
            _ => return None,
        };
        let coding = Coding::of(frame.precision, near, presets)?;
        Some(Self {
            components,
            interleave,
            coding,
        })
    }

    /// Put the scan's samples into their places among those of all components.
    fn decode(&self, coded: &[u8], frame: &Frame, samples: &mut [u16]) -> Option<()> {
        let width = usize::from(frame.width);
        let all = frame.components.len();
        let mut decoder = Decoder::new(self.coding, coded);
        let mut planes: Vec<Plane> = self.components.iter().map(|_| Plane::new(width)).collect();
        for row in samples.chunks_mut((width * all).max(1)) {
            planes.iter_mut().for_each(Plane::begin);
            match self.interleave {
                Interleave::Sample => decoder.line(&mut planes)?,
                _ => planes
                    .iter_mut()
                    .try_for_each(|plane| decoder.line(std::slice::from_mut(plane)))?,
            }
            for (plane, place) in planes.iter().zip(&self.components) {
                let places = row.iter_mut().skip(*place).step_by(all);
                let line = plane.now.iter().skip(1);
                places.zip(line).for_each(|(to, from)| *to = *from as u16);
            }
        }
        Some(())
    }
}

impl Coding {
    fn of(precision: u8, near: u8, presets: &Presets) -> Option<Self> {
        let near = i32::from(near);
        let highest = (1 << precision) - 1;
        let most = match presets.most {
            0 => highest,
            most => i32::from(most),
        };
        let reset = match presets.reset {
            0 => 64,
            reset => i64::from(reset),
        };
        if most > highest
            || near > 255.min(most / 2)
            || !(3..=i64::from(most.max(255))).contains(&reset)
        {
            return None;
        }
        let mut thresholds = Self::usual_thresholds(most, near);
        for (threshold, told) in thresholds.iter_mut().zip(presets.thresholds) {
            if told != 0 {
                *threshold = i32::from(told);
            }
        }
        let [t1, t2, t3] = thresholds;
        if !(near < t1 && t1 <= t2 && t2 <= t3 && t3 <= most) {
            return None;
        }
        let range = (most + 2 * near) / (2 * near + 1) + 1;
        let bits = |values: i32| 32 - (values - 1).leading_zeros();
        let sample_bits = bits(most + 1).max(2);
        Some(Self {
            near,
            most,
            thresholds,
            reset,
            range,
            plain_bits: bits(range),
            limit: 2 * (sample_bits + sample_bits.max(8)),
        })
    }

    /// C.2.4.1.1.
    fn usual_thresholds(most: i32, near: i32) -> [i32; 3] {
        let within = |value: i32, least: i32| match value > most || value < least {
            true => least,
            false => value,
        };
        let [a, b, c] = if most >= 128 {
            let factor = (most.min(4095) + 128) / 256;
            [
                factor + 2 + 3 * near,
                4 * factor + 3 + 5 * near,
                17 * factor + 4 + 7 * near,
            ]
        } else {
            let factor = 256 / (most + 1);
            [
                2.max(3 / factor + 3 * near),
                3.max(7 / factor + 5 * near),
                4.max(21 / factor + 7 * near),
            ]
        };
        let t1 = within(a, near + 1);
        let t2 = within(b, t1);
        [t1, t2, within(c, t2)]
    }
}

/// Two lines of a component, each with a place before its first sample and one behind its last.
struct Plane {
    before: Vec<i32>,
    now: Vec<i32>,
    /// RUNindex.
    run: usize,
}

/// The neighbours of a sample: left, above, above to the left and to the right.
#[derive(Clone, Copy)]
struct Around {
    a: i32,
    b: i32,
    c: i32,
    d: i32,
}

impl Plane {
    fn new(width: usize) -> Self {
        Self {
            before: vec![0; width + 2],
            now: vec![0; width + 2],
            run: 0,
        }
    }

    /// Go on to the next line; its edges are what stands beside them above (A.2.1).
    fn begin(&mut self) {
        std::mem::swap(&mut self.before, &mut self.now);
        if let [.., last, edge] = self.before.as_mut_slice() {
            *edge = *last;
        }
        let above = self.before.get(1).copied();
        if let Some((edge, above)) = self.now.first_mut().zip(above) {
            *edge = above;
        }
    }

    fn around(&self, at: usize) -> Option<Around> {
        let [c, b, d] = *self.before.get(at.checked_sub(1)?..at + 2)? else {
            return None;
        };
        let a = *self.now.get(at - 1)?;
        Some(Around { a, b, c, d })
    }
}

/// Errors that were met in one context: A, B, C and N.
#[derive(Clone, Copy)]
struct Met {
    size: i64,
    bias: i64,
    correction: i32,
    count: i64,
}

/// The same of the samples that end runs: A, N and Nn.
#[derive(Clone, Copy)]
struct Ended {
    size: i64,
    count: i64,
    negative: i64,
}

struct Decoder<'a> {
    coding: Coding,
    bits: Bits<'a>,
    regular: Vec<Met>,
    /// Where the run's value and the one above differ, and where they do not.
    ended: [Ended; 2],
}

impl<'a> Decoder<'a> {
    fn new(coding: Coding, coded: &'a [u8]) -> Self {
        let size = i64::from(((coding.range + 32) / 64).max(2));
        let met = Met {
            size,
            bias: 0,
            correction: 0,
            count: 1,
        };
        let ended = Ended {
            size,
            count: 1,
            negative: 0,
        };
        Self {
            coding,
            bits: Bits::new(coded),
            regular: vec![met; CONTEXTS],
            ended: [ended; 2],
        }
    }

    /// One line of these components, sample by sample.
    fn line(&mut self, planes: &mut [Plane]) -> Option<()> {
        let width = planes.first()?.now.len() - 2;
        let mut at = 1;
        while at <= width {
            let mut contexts = [0; MOST_COMPONENTS];
            for (plane, context) in planes.iter().zip(&mut contexts) {
                *context = self.context(plane.around(at)?);
            }
            if contexts.iter().all(|context| *context == 0) {
                at = self.run(planes, at, width)?;
                continue;
            }
            for (plane, context) in planes.iter_mut().zip(contexts) {
                let value = self.sample(plane.around(at)?, context)?;
                *plane.now.get_mut(at)? = value;
            }
            at += 1;
        }
        Some(())
    }

    /// Number of the context, negative where it is the mirror image of another (A.3.3, A.3.4).
    fn context(&self, Around { a, b, c, d }: Around) -> i32 {
        let [t1, t2, t3] = self.coding.thresholds;
        let near = self.coding.near;
        let region = |difference: i32| {
            let size = difference.abs();
            let region = match size {
                _ if size <= near => 0,
                _ if size < t1 => 1,
                _ if size < t2 => 2,
                _ if size < t3 => 3,
                _ => 4,
            };
            region * difference.signum()
        };
        (region(d - b) * 9 + region(b - c)) * 9 + region(c - a)
    }

    /// A sample in regular mode (A.4, A.5, A.6).
    fn sample(&mut self, Around { a, b, c, .. }: Around, context: i32) -> Option<i32> {
        let coding = self.coding;
        let sign = if context < 0 { -1 } else { 1 };
        let met = self.regular.get_mut(context.unsigned_abs() as usize)?;
        let predicted = if c >= a.max(b) {
            a.min(b)
        } else if c <= a.min(b) {
            a.max(b)
        } else {
            a + b - c
        };
        let predicted = (predicted + sign * met.correction).clamp(0, coding.most);
        let scale = scale(met.count, met.size)?;
        let mapped = self.bits.mapped(scale, coding.limit, coding.plain_bits)?;
        let mirrored = coding.near == 0 && scale == 0 && 2 * met.bias <= -met.count;
        let mut error = match mapped % 2 {
            0 => mapped / 2,
            _ => -(mapped / 2) - 1,
        };
        if mirrored {
            error = -error - 1;
        }
        met.update(error, &coding);
        Some(coding.reconstructed(predicted, sign * error))
    }

    /// A run, and the sample that ends it; the place behind them (A.7).
    fn run(&mut self, planes: &mut [Plane], from: usize, width: usize) -> Option<usize> {
        let mut run = planes.first()?.run;
        let mut end = from;
        let broken = loop {
            let bits = *RUNS.get(run)?;
            if self.bits.take(1)? == 0 {
                end += self.bits.take(bits)? as usize;
                break bits;
            }
            let full = 1_usize << bits;
            if end + full <= width + 1 {
                run = (run + 1).min(RUNS.len() - 1);
            }
            end = (end + full).min(width + 1);
            if end > width {
                planes.first_mut()?.run = run;
                return fill(planes, from, end).map(|()| end);
            }
        };
        if end > width {
            return None;
        }
        fill(planes, from, end)?;
        let single = planes.len() == 1;
        for plane in planes.iter_mut() {
            let Around { a, b, .. } = plane.around(end)?;
            let value = self.run_end(a, b, single, broken)?;
            *plane.now.get_mut(end)? = value;
        }
        planes.first_mut()?.run = run.saturating_sub(1);
        Some(end + 1)
    }

    /// The sample that ends a run (A.7.2). Of several components together, all are coded as where
    /// the values differ.
    fn run_end(&mut self, a: i32, b: i32, single: bool, broken: u32) -> Option<i32> {
        let coding = self.coding;
        let alike = single && (a - b).abs() <= coding.near;
        let ended = self.ended.get_mut(usize::from(alike))?;
        let size = match alike {
            true => ended.size + ended.count / 2,
            false => ended.size,
        };
        let scale = scale(ended.count, size)?;
        let limit = (coding.limit - 1).checked_sub(broken)?;
        let mapped = self.bits.mapped(scale, limit, coding.plain_bits)?;
        let folded = mapped + i32::from(alike);
        let odd = folded % 2;
        let size = (folded + odd) / 2;
        let negative = scale != 0 || 2 * ended.negative >= ended.count;
        let error = if negative == (odd == 1) { -size } else { size };
        if error < 0 {
            ended.negative += 1;
        }
        ended.size += i64::from((mapped + 1 - i32::from(alike)) / 2);
        if ended.count == coding.reset {
            ended.size /= 2;
            ended.count /= 2;
            ended.negative /= 2;
        }
        ended.count += 1;
        Some(match alike {
            true => coding.reconstructed(a, error),
            false => coding.reconstructed(b, if b < a { -error } else { error }),
        })
    }
}

/// Repeat the sample before `from` up to `end`.
fn fill(planes: &mut [Plane], from: usize, end: usize) -> Option<()> {
    for plane in planes {
        let value = *plane.now.get(from - 1)?;
        plane.now.get_mut(from..end)?.fill(value);
    }
    Some(())
}

/// k: by how many bits errors are scaled in a context (A.5.1).
fn scale(count: i64, size: i64) -> Option<u32> {
    (0..=MOST_SCALE).find(|scale| count << scale >= size)
}

impl Met {
    /// A.6.
    fn update(&mut self, error: i32, coding: &Coding) {
        self.bias += i64::from(error) * i64::from(2 * coding.near + 1);
        self.size += i64::from(error.abs());
        if self.count == coding.reset {
            self.size >>= 1;
            self.bias >>= 1;
            self.count >>= 1;
        }
        self.count += 1;
        if self.bias <= -self.count {
            self.bias = (self.bias + self.count).max(1 - self.count);
            self.correction = (self.correction - 1).max(-128);
        } else if self.bias > 0 {
            self.bias = (self.bias - self.count).min(0);
            self.correction = (self.correction + 1).min(127);
        }
    }
}

impl Coding {
    /// A predicted value and its error together, within the range of samples (A.4.5).
    fn reconstructed(&self, predicted: i32, error: i32) -> i32 {
        let step = 2 * self.near + 1;
        let mut value = predicted.saturating_add(error.saturating_mul(step));
        if value < -self.near {
            value = value.saturating_add(self.range * step);
        } else if value > self.most + self.near {
            value = value.saturating_sub(self.range * step);
        }
        value.clamp(0, self.most)
    }
}

/// Bits, the highest of a byte first; behind a byte of ones, a byte has seven.
struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits from the top on, and how many there are.
    next: u64,
    left: u32,
    after_ones: bool,
}

impl<'a> Bits<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            next: 0,
            left: 0,
            after_ones: false,
        }
    }

    fn fill(&mut self) {
        while self.left <= 56
            && let Some((byte, rest)) = self.rest.split_first()
        {
            let bits = if self.after_ones { 7 } else { 8 };
            self.next |= u64::from(*byte) << (64 - bits - self.left);
            self.left += bits;
            self.after_ones = *byte == 0xff;
            self.rest = rest;
        }
    }

    /// The next bits, at most 32 of them, as a number.
    fn take(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        if self.left < count {
            self.fill();
        }
        self.left = self.left.checked_sub(count)?;
        let bits = self.next >> (64 - count);
        self.next <<= count;
        Some(bits as u32)
    }

    /// A mapped error: so many zeros and a one, then the bits that were scaled away; or, behind as
    /// many zeros as it may have at most, all of it (A.5.3).
    fn mapped(&mut self, scale: u32, limit: u32, plain: u32) -> Option<i32> {
        let most = limit.checked_sub(plain + 1)?;
        // No more zeros than fit: at most 47, of samples of 16 bits.
        self.fill();
        let zeros = self.next.leading_zeros();
        if zeros > most || zeros >= self.left {
            return None;
        }
        self.take(zeros + 1)?;
        let value = match zeros == most {
            true => self.take(plain)? + 1,
            false => zeros << scale | self.take(scale)?,
        };
        i32::try_from(value).ok()
    }
}
