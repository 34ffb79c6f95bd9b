//! The source of a drill: Y4M at 30 frames a second, each frame with its number in its pixels.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) const WIDTH: usize = 320;
pub(crate) const HEIGHT: usize = 240;
/// Time between two frames.
pub(crate) const FRAME: Duration = Duration::from_nanos(33_333_333);
/// Side of one bit of a frame's number, pixels.
const BIT: usize = 8;
const BITS: usize = 24;
/// Side of the object, pixels.
const OBJECT: usize = 72;

/// A frame's number from its luma; the painter leaves it alone, as no mask reaches there.
pub(crate) fn number(luma: &[u8], width: usize) -> Option<u64> {
    let mut number = 0;
    for bit in 0..BITS {
        let value = *luma.get(BIT / 2 * width + bit * BIT + BIT / 2)?;
        number |= u64::from(value > 128) << bit;
    }
    Some(number)
}

/// A red object that moves over a grained brown ground, which is what the tiny bundle calls a polyp.
pub(crate) fn frame(number: u64) -> Vec<u8> {
    let mut frame = vec![0; WIDTH * HEIGHT * 3 / 2];
    let (luma, chroma) = frame.split_at_mut(WIDTH * HEIGHT);
    let way = (WIDTH - OBJECT - 120) as u64;
    let step = number % (2 * way);
    let left = (60 + step.min(2 * way - step) as usize) & !1;
    let top = (HEIGHT - OBJECT) / 2;
    let inside =
        |x: usize, y: usize| (left..left + OBJECT).contains(&x) && (top..top + OBJECT).contains(&y);
    for (at, value) in luma.iter_mut().enumerate() {
        let (x, y) = (at % WIDTH, at / WIDTH);
        // The object's grain moves with it, so that its motion can be followed.
        let (grain, ground) = if inside(x, y) {
            ((x - left, y - top), 75)
        } else {
            ((x, y), 95)
        };
        let noise = (grain.0 as u32 / 3 * 7919 + grain.1 as u32 / 3 * 104_729)
            .wrapping_mul(2_654_435_761)
            >> 28;
        *value = ground + noise as u8;
        if y < BIT && x < BIT * BITS {
            *value = if number >> (x / BIT) & 1 == 1 {
                235
            } else {
                16
            };
        }
    }
    let (u, v) = chroma.split_at_mut(WIDTH * HEIGHT / 4);
    for (at, (u, v)) in u.iter_mut().zip(v).enumerate() {
        let (x, y) = (at % (WIDTH / 2) * 2, at / (WIDTH / 2) * 2);
        (*u, *v) = if inside(x, y) { (90, 230) } else { (120, 138) };
    }
    frame
}

pub(crate) fn header(width: usize, height: usize) -> String {
    format!("YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n")
}

enum Order {
    Pause,
    Resume,
    Bytes(Vec<u8>),
}

/// Writes frames until it is dropped, which closes the pipe, or nobody reads any longer.
pub(crate) struct Feeder {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

/// One frame that was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// When writing it began.
    pub(crate) at: Instant,
    /// How late that was for a reason of the drill's own: a pause, or a busy machine. Time in which
    /// the command did not take the frame before is not counted.
    pub(crate) late: Duration,
}

impl Feeder {
    pub(crate) fn start(pipe: ChildStdin) -> Self {
        // One at a time, and the feeder takes each before its next frame.
        let (orders, received) = sync_channel(4);
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let to = sent.clone();
        // An end of the reader's is a case of the drill.
        let thread = thread::spawn(move || drop(feed(pipe, &received, &to)));
        Self {
            orders: Some(orders),
            thread: Some(thread),
            sent,
        }
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    pub(crate) fn pause(&self) {
        self.order(Order::Pause);
    }

    pub(crate) fn resume(&self) {
        self.order(Order::Resume);
    }

    /// Write these bytes between two frames.
    pub(crate) fn bytes(&self, bytes: Vec<u8>) {
        self.order(Order::Bytes(bytes));
    }

    /// Close the pipe behind the frame that is being written.
    pub(crate) fn close(&mut self) {
        self.orders = None;
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn feed(
    mut pipe: ChildStdin,
    orders: &Receiver<Order>,
    sent: &Mutex<Vec<Sent>>,
) -> std::io::Result<()> {
    pipe.write_all(header(WIDTH, HEIGHT).as_bytes())?;
    let mut due = Instant::now();
    let mut paused = false;
    for number in 0.. {
        loop {
            let patience = if paused {
                Duration::from_secs(1)
            } else {
                due.saturating_duration_since(Instant::now())
            };
            match orders.recv_timeout(patience) {
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if paused => {}
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Order::Pause) => paused = true,
                Ok(Order::Resume) => paused = false,
                Ok(Order::Bytes(bytes)) => pipe.write_all(&bytes)?,
            }
        }
        let frame = frame(number);
        let at = Instant::now();
        let late = at.saturating_duration_since(due);
        sent.lock().unwrap().push(Sent { at, late });
        pipe.write_all(b"FRAME\n")?;
        pipe.write_all(&frame)?;
        pipe.flush()?;
        // A camera does not catch up with what was not taken in time.
        due = (at + FRAME).max(Instant::now());
    }
    Ok(())
}
