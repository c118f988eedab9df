//! The queue in front of a sink that accepts, refuses or blocks writes.

use std::sync::mpsc;

use super::*;

/// Long enough for anything that is going to happen.
const SOON: Duration = Duration::from_secs(30);

/// A sink that a test controls.
#[derive(Clone, Default)]
struct Steered(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    text: String,
    /// While it is set, writes hang.
    blocked: bool,
    /// A write is hanging.
    hangs: bool,
    /// How many more bytes are accepted before writes fail; `None` for no limit.
    room: Option<usize>,
    /// How many of the next writes answer `WouldBlock`.
    busy: u32,
    frames: Vec<Option<Frame>>,
}

impl Steered {
    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn text(&self) -> String {
        self.0.0.lock().unwrap().text.clone()
    }

    /// Blocks the sink, and waits until the writer hangs in it with this line.
    fn hang(&self, writer: &LogWriter, line: &str) {
        self.set(|state| state.blocked = true);
        writer.line(line.into());
        let (lock, changed) = &*self.0;
        drop(changed.wait_while(lock.lock().unwrap(), |state| !state.hangs).unwrap());
    }

    fn release(&self) {
        self.set(|state| state.blocked = false);
    }
}

impl io::Write for Steered {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let (lock, changed) = &*self.0;
        let mut state = lock.lock().unwrap();
        state.hangs = true;
        changed.notify_all();
        state = changed.wait_while(state, |state| state.blocked).unwrap();
        state.hangs = false;
        if state.busy > 0 {
            state.busy -= 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = state.room.map_or(text.len(), |room| room.min(text.len()));
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.room = state.room.map(|room| room - taken);
        state.text += std::str::from_utf8(&text[..taken]).unwrap();
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Steered {
    fn draw(&mut self, frame: Option<&Frame>) {
        self.set(|state| state.frames.push(frame.cloned()));
    }
}

fn started() -> (LogWriter, Steered) {
    let sink = Steered::default();
    let notice = |dropped| format!("{dropped} dropped\n").into_bytes();
    (LogWriter::start(sink.clone(), notice).unwrap(), sink)
}

#[test]
fn lines_are_written_in_order() {
    let (writer, sink) = started();
    (0..100).for_each(|n| writer.line(format!("{n}\n").into_bytes()));
    assert!(writer.flush(SOON));
    assert_eq!(sink.text(), (0..100).map(|n| format!("{n}\n")).collect::<String>());
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn a_stuck_reader_blocks_no_caller_and_the_oldest_lines_are_dropped_and_reported() {
    let (writer, sink) = started();
    sink.hang(&writer, "in hand\n");
    let (done, is_done) = mpsc::channel();
    let logging = writer.clone();
    thread::spawn(move || {
        (0..MAX_LINES + 5).for_each(|n| logging.line(format!("{n}\n").into_bytes()));
        done.send(()).unwrap();
    });
    is_done.recv_timeout(SOON).expect("no caller is blocked");
    assert_eq!(writer.dropped(), 5);
    assert!(!writer.flush(Duration::from_millis(20)), "nothing can be written");
    sink.release();
    assert!(writer.flush(SOON));
    let text = sink.text();
    assert!(text.starts_with("in hand\n5 dropped\n5\n6\n"), "{}", &text[..60]);
    assert!(text.ends_with(&format!("{}\n", MAX_LINES + 4)));
    assert_eq!(text.matches("dropped").count(), 1);
}

#[test]
fn waiting_bytes_are_bounded_too() {
    let (writer, sink) = started();
    sink.hang(&writer, "in hand\n");
    let line = "x".repeat(MAX_BYTES / 4);
    (0..6).for_each(|_| writer.line(line.clone().into_bytes()));
    assert_eq!(writer.dropped(), 2);
    writer.line("x".repeat(MAX_BYTES + 1).into_bytes());
    assert_eq!(writer.dropped(), 3, "a line without any chance drops no other one");
    sink.release();
    assert!(writer.flush(SOON));
    assert_eq!(sink.text().matches(&line).count(), 4);
}

#[test]
fn lines_that_failed_are_reported_once_writing_works_again() {
    let (writer, sink) = started();
    sink.set(|state| state.room = Some(0));
    (0..3).for_each(|n| writer.line(format!("lost {n}\n").into_bytes()));
    assert!(writer.flush(SOON), "a line that was refused is settled");
    assert_eq!(writer.dropped(), 3);
    sink.set(|state| state.room = None);
    writer.line(b"again\n".into());
    writer.line(b"and on\n".into());
    assert!(writer.flush(SOON));
    assert_eq!(sink.text(), "3 dropped\nagain\nand on\n");
}

#[test]
fn a_line_that_was_cut_off_does_not_run_into_the_next() {
    let (writer, sink) = started();
    sink.set(|state| state.room = Some(4));
    writer.line(b"a line\n".into());
    assert!(writer.flush(SOON));
    sink.set(|state| state.room = None);
    writer.line(b"another\n".into());
    assert!(writer.flush(SOON));
    assert_eq!(sink.text(), "a li\n1 dropped\nanother\n");
}

#[test]
fn a_non_blocking_sink_is_retried() {
    let (writer, sink) = started();
    sink.set(|state| state.busy = 3);
    writer.line(b"a line\n".into());
    assert!(writer.flush(SOON));
    assert_eq!((sink.text().as_str(), writer.dropped()), ("a line\n", 0));
}

#[test]
fn only_the_newest_frame_of_the_bar_is_drawn() {
    let (writer, sink) = started();
    sink.hang(&writer, "in hand\n");
    let frame = |position| Frame { position, length: 9, speed: 1.0, left: None };
    (0..1_000).for_each(|position| writer.draw(Some(frame(position))));
    sink.release();
    assert!(writer.flush(SOON));
    assert_eq!(sink.0.0.lock().unwrap().frames, [Some(frame(999))]);
}
