//! The few protocol buffers of an event file, encoded by hand (`event.proto`, `summary.proto`, `tensor.proto` of
//! TensorFlow; the numbers below are their field numbers).

/// A protocol buffer that is being built.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// The key of a field; `wire` is 0 for varints, 1 for 64 bits, 2 for lengths, 5 for 32 bits.
    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn integer(mut self, field: u64, value: u64) -> Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn raw(mut self, field: u64, bytes: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn string(self, field: u64, text: &str) -> Self {
        self.raw(field, text.as_bytes())
    }

    fn message(self, field: u64, inner: &Self) -> Self {
        self.raw(field, &inner.0)
    }

    fn doubles(self, field: u64, values: &[f64]) -> Self {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.raw(field, &packed)
    }
}

/// `Event { wall_time, file_version }`, the first record of a file.
pub(super) fn file_version(wall_time: f64) -> Message {
    Message::default().double(1, wall_time).string(3, "brain.Event:2")
}

/// `Event { wall_time, step, session_log: SessionLog { status: START } }`: later steps of older files are dropped.
pub(super) fn session_start(wall_time: f64, step: usize) -> Message {
    Message::default()
        .double(1, wall_time)
        .integer(2, step as u64)
        .message(7, &Message::default().integer(1, 1))
}

/// `Event { wall_time, step, summary: Summary { value.. } }`.
pub(super) fn summary(wall_time: f64, step: usize, values: &[Message]) -> Message {
    let summary = values
        .iter()
        .fold(Message::default(), |summary, value| summary.message(1, value));
    Message::default()
        .double(1, wall_time)
        .integer(2, step as u64)
        .message(5, &summary)
}

/// `Summary.Value { tag, simple_value }`.
pub(super) fn scalar(tag: &str, value: f64) -> Message {
    #[expect(clippy::cast_possible_truncation, reason = "TensorBoard's scalars are f32")]
    let value = value as f32;
    Message::default().string(1, tag).float(2, value)
}

/// `Summary.Value { tag, histo }`.
pub(super) fn histogram(tag: &str, histogram: &Histogram) -> Message {
    let histo = Message::default()
        .double(1, histogram.min)
        .double(2, histogram.max)
        .double(3, histogram.count)
        .double(4, histogram.sum)
        .double(5, histogram.sum_squares)
        .doubles(6, &histogram.limits)
        .doubles(7, &histogram.counts);
    Message::default().string(1, tag).message(5, &histo)
}

/// `Summary.Value { tag, metadata { plugin_data { plugin_name: "text" } }, tensor { DT_STRING, [1], text } }`.
pub(super) fn text(tag: &str, text: &str) -> Message {
    const DT_STRING: u64 = 7;
    let plugin = Message::default().string(1, "text");
    let metadata = Message::default().message(1, &plugin);
    let dimension = Message::default().integer(1, 1);
    let shape = Message::default().message(2, &dimension);
    let tensor = Message::default()
        .integer(1, DT_STRING)
        .message(2, &shape)
        .string(8, text);
    Message::default()
        .string(1, tag)
        .message(9, &metadata)
        .message(8, &tensor)
}

/// Buckets of equal width.
const BUCKETS: usize = 30;

/// `HistogramProto`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    min: f64,
    max: f64,
    count: f64,
    sum: f64,
    sum_squares: f64,
    /// Right edge of each bucket.
    limits: Vec<f64>,
    counts: Vec<f64>,
}

impl Histogram {
    /// The histogram of the finite values; `None` if there are none.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        // If all values are equal, a bucket still needs a width.
        let width = ((max - min) / BUCKETS as f64).max(1e-6 * max.abs().max(1e-6));
        let mut counts = vec![0.0; BUCKETS];
        for value in &values {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at least 0, and bounded below"
            )]
            let bucket = ((value - min) / width) as usize;
            counts[bucket.min(BUCKETS - 1)] += 1.0;
        }
        Some(Self {
            min,
            max,
            count: values.len() as f64,
            sum: values.iter().sum(),
            sum_squares: values.iter().map(|value| value * value).sum(),
            limits: (1..=BUCKETS).map(|edge| min + edge as f64 * width).collect(),
            counts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_written_seven_bits_at_a_time() {
        assert_eq!(Message::default().integer(1, 300).bytes(), [0x08, 0xac, 0x02]);
        assert_eq!(Message::default().integer(2, 0).bytes(), [0x10, 0x00]);
    }

    #[test]
    fn strings_and_messages_carry_their_length() {
        let inner = Message::default().string(1, "ab");
        assert_eq!(inner.bytes(), [0x0a, 2, b'a', b'b']);
        let outer = Message::default().message(5, &inner);
        assert_eq!(outer.bytes(), [0x2a, 4, 0x0a, 2, b'a', b'b']);
    }

    #[test]
    fn a_histogram_counts_every_finite_value_once() {
        let histogram = Histogram::of(&[0.0, 1.0, 1.0, f64::NAN, 0.5]).expect("values");
        assert_eq!(histogram.counts.iter().sum::<f64>(), 4.0);
        assert_eq!((histogram.counts[0], histogram.counts[BUCKETS - 1]), (1.0, 2.0));
        assert_eq!(histogram.limits.len(), BUCKETS);
        let flat = Histogram::of(&[2.0, 2.0]).expect("values");
        assert_eq!((flat.counts[0], flat.min, flat.max), (2.0, 2.0, 2.0));
        assert!(flat.limits.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Histogram::of(&[f64::NAN]), None);
    }
}
