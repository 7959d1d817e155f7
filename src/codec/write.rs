//! Results as JSON lines, straight into a buffer of bytes: no text is made on the way, and what does not change from line
//! to line is formatted once.
//!
//! Numbers have the fewest digits that read back as the same bits. Times are ms since the epoch, UTC.

mod text;

#[cfg(test)]
mod tests;

use crate::codec::id::{murmur3, push_hex, push_place, push_text};
use crate::model::dead::DeadLetter;
use crate::model::reading::{Batch, Reading};
use crate::model::results::{AnomalyBatch, NO_CHANNEL, Severity, WindowBatch, WindowRow};
use text::{push_base64, push_escaped, push_field, push_float, push_integer, push_unsigned};

/// The names that lines carry and that batches know by index.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The dataflow.
    pub dataflow: &'a str,
    /// The step that finds the anomalies.
    pub step: &'a str,
    /// The source of the readings.
    pub source: &'a str,
    /// The step's detectors, each with its kinds.
    pub detectors: &'a [(&'static str, Vec<String>)],
    /// Channels of the source.
    pub channels: &'a [String],
}

/// Writes lines with the names of one step.
pub struct Lines {
    /// `{"source":"...","partition":"`
    head: Vec<u8>,
    /// `,"source":"...","partition":"`
    source: Vec<u8>,
    channels: Vec<Channel>,
    /// By detector, then kind.
    kinds: Vec<Vec<Kind>>,
}

struct Channel {
    name: Vec<u8>,
    /// `,"channel":"voltage"`
    member: Vec<u8>,
    /// `,"voltage":`
    key: Vec<u8>,
}

struct Kind {
    /// The bytes with which the tuple of an id begins.
    id: Vec<u8>,
    /// `","kind":"voltage_spike","severity":"`
    kind: Vec<u8>,
    /// `,"detector":"moving_average","late":`
    detector: Vec<u8>,
}

/// The parts in one buffer, every second of them escaped.
fn escaped(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        match at % 2 {
            0 => out.extend_from_slice(part.as_bytes()),
            _ => push_escaped(part.as_bytes(), &mut out),
        }
    }
    out
}

impl Lines {
    /// Formats what all lines with these names share.
    pub fn new(names: &Names) -> Lines {
        let channel = |name: &String| Channel {
            name: name.clone().into_bytes(),
            member: escaped(&[",\"channel\":\"", name, "\""]),
            key: escaped(&[",\"", name, "\":"]),
        };
        let kind = |detector: &str, kind: &String| {
            let mut id = Vec::new();
            for text in [names.dataflow, names.step, detector, kind] {
                push_text(text.as_bytes(), &mut id);
            }
            let detector = escaped(&[",\"detector\":\"", detector, "\",\"late\":"]);
            Kind { id, kind: escaped(&["\",\"kind\":\"", kind, "\",\"severity\":\""]), detector }
        };
        Lines {
            head: escaped(&["{\"source\":\"", names.source, "\",\"partition\":\""]),
            source: escaped(&[",\"source\":\"", names.source, "\",\"partition\":\""]),
            channels: names.channels.iter().map(channel).collect(),
            kinds: names.detectors.iter().map(|(name, kinds)| kinds.iter().map(|text| kind(name, text)).collect()).collect(),
        }
    }

    /// Appends the lines of a batch of windows.
    pub fn windows(&self, batch: &WindowBatch, out: &mut Vec<u8>) {
        for row in &batch.rows {
            self.window(row, &batch.heap, out);
        }
    }

    /// Appends the line of one window; `heap` is that of its batch. Without readings, its statistics are null.
    #[inline]
    pub fn window(&self, row: &WindowRow, heap: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"meter\":\"");
        push_escaped(row.meter.bytes(heap), out);
        out.push(b'"');
        out.extend_from_slice(&self.channels[row.channel as usize].member);
        out.extend_from_slice(b",\"window_start\":");
        push_integer(row.start, out);
        out.extend_from_slice(b",\"window_end\":");
        push_integer(row.end, out);
        out.extend_from_slice(b",\"count\":");
        push_unsigned(row.count, out);
        if row.count == 0 {
            let nothing = b",\"mean\":null,\"stddev\":null,\"min\":null,\"max\":null,\"first\":null,\"last\":null";
            out.extend_from_slice(nothing);
        } else {
            push_field(",\"mean\":", row.mean, out);
            push_field(",\"stddev\":", row.stddev, out);
            push_field(",\"min\":", row.min, out);
            push_field(",\"max\":", row.max, out);
            push_field(",\"first\":", row.first, out);
            push_field(",\"last\":", row.last, out);
        }
        out.extend_from_slice(b",\"revision\":");
        push_unsigned(u64::from(row.revision), out);
        out.extend_from_slice(b"}\n");
    }

    /// Appends the lines of a batch of anomalies; `partitions` are the names of the source's partitions.
    pub fn anomalies(&self, batch: &AnomalyBatch, partitions: &[String], out: &mut Vec<u8>) {
        let mut tuple = Vec::new();
        for index in 0..batch.rows.len() {
            self.anomaly(batch, index, partitions, &mut tuple, out);
        }
    }

    /// Appends the line of one anomaly; `tuple` is memory for the bytes of its id.
    fn anomaly(&self, batch: &AnomalyBatch, index: usize, partitions: &[String], tuple: &mut Vec<u8>, out: &mut Vec<u8>) {
        let row = &batch.rows[index];
        let kind = &self.kinds[row.detector as usize][row.kind as usize];
        let channel = (row.channel != NO_CHANNEL).then(|| &self.channels[row.channel as usize]);
        let meter = row.meter.bytes(&batch.heap);
        let partition = partitions[row.partition as usize].as_bytes();
        self.push_id(batch, index, partitions, tuple);
        out.extend_from_slice(b"{\"id\":\"");
        push_hex(murmur3(tuple, 0), out);
        out.extend_from_slice(&kind.kind);
        out.extend_from_slice(Severity::from_u8(row.severity).name().as_bytes());
        out.extend_from_slice(b"\",\"meter\":\"");
        push_escaped(meter, out);
        out.extend_from_slice(b"\",\"time\":");
        push_integer(row.time, out);
        match channel {
            None => out.extend_from_slice(b",\"channel\":null,\"observed\":null,\"expected\":null,\"deviation\":null"),
            Some(channel) => {
                out.extend_from_slice(&channel.member);
                push_field(",\"observed\":", row.observed, out);
                push_field(",\"expected\":", row.expected, out);
                push_field(",\"deviation\":", row.observed - row.expected, out);
            }
        }
        push_field(",\"score\":", row.score, out);
        push_field(",\"threshold\":", row.threshold, out);
        out.extend_from_slice(&kind.detector);
        out.extend_from_slice(if row.late == 1 { b"true" } else { b"false" });
        out.extend_from_slice(&self.source);
        push_escaped(partition, out);
        out.extend_from_slice(b"\",\"offset\":");
        push_unsigned(row.offset, out);
        self.push_reading(meter, row.time, row.present, batch.values_of(index), batch.status_of(index), out);
        out.extend_from_slice(b"}\n");
    }

    /// Fills `tuple` with what makes an anomaly what it is.
    fn push_id(&self, batch: &AnomalyBatch, index: usize, partitions: &[String], tuple: &mut Vec<u8>) {
        let row = &batch.rows[index];
        let channel = (row.channel != NO_CHANNEL).then(|| &self.channels[row.channel as usize]);
        tuple.clear();
        tuple.extend_from_slice(&self.kinds[row.detector as usize][row.kind as usize].id);
        push_text(row.meter.bytes(&batch.heap), tuple);
        push_text(channel.map_or(&[], |channel| &channel.name), tuple);
        push_text(partitions[row.partition as usize].as_bytes(), tuple);
        push_place(row.time, row.offset, tuple);
    }

    /// The ids of the anomalies of a batch, as they stand in lines.
    pub fn ids(&self, batch: &AnomalyBatch, partitions: &[String]) -> Vec<[u8; 32]> {
        let (mut tuple, mut text) = (Vec::new(), Vec::with_capacity(32));
        let id = |index| {
            self.push_id(batch, index, partitions, &mut tuple);
            text.clear();
            push_hex(murmur3(&tuple, 0), &mut text);
            let mut id = [0; 32];
            id.copy_from_slice(&text);
            id
        };
        (0..batch.rows.len()).map(id).collect()
    }

    /// Appends the lines of a batch of late readings.
    pub fn late(&self, batch: &Batch, partitions: &[String], out: &mut Vec<u8>) {
        for (reading, watermark) in batch.iter().zip(&batch.watermarks) {
            self.push_head(batch.partition, reading.offset(), partitions, out);
            out.extend_from_slice(b",\"watermark\":");
            push_integer(*watermark, out);
            out.extend_from_slice(b",\"lateness_ms\":");
            push_integer(watermark - reading.time(), out);
            self.push_batch_reading(reading, out);
            out.extend_from_slice(b"}\n");
        }
    }

    /// Appends the lines of dead letters.
    pub fn dead(&self, letters: &[DeadLetter], partitions: &[String], out: &mut Vec<u8>) {
        for letter in letters {
            self.push_head(letter.partition, letter.offset, partitions, out);
            out.extend_from_slice(b",\"reason\":\"");
            out.extend_from_slice(letter.reason.name().as_bytes());
            out.extend_from_slice(b"\",\"message\":\"");
            push_escaped(letter.message.as_bytes(), out);
            out.extend_from_slice(b"\",\"raw\":\"");
            let is_text = std::str::from_utf8(&letter.raw).is_ok();
            match is_text {
                true => push_escaped(&letter.raw, out),
                false => push_base64(&letter.raw, out),
            }
            let encoding: &[u8] = if is_text { b"utf8" } else { b"base64" };
            out.extend_from_slice(b"\",\"raw_encoding\":\"");
            out.extend_from_slice(encoding);
            out.extend_from_slice(b"\",\"raw_bytes\":");
            push_unsigned(letter.raw_bytes, out);
            out.extend_from_slice(b"}\n");
        }
    }

    /// `{"source":...,"partition":...,"offset":...`
    fn push_head(&self, partition: u32, offset: u64, partitions: &[String], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        push_escaped(partitions[partition as usize].as_bytes(), out);
        out.extend_from_slice(b"\",\"offset\":");
        push_unsigned(offset, out);
    }

    fn push_batch_reading(&self, reading: Reading, out: &mut Vec<u8>) {
        let row = reading.row();
        self.push_reading(reading.meter(), row.time, row.present, reading.values(), reading.status(), out);
    }

    /// `,"reading":{...}`: the meter, the time, the channels that are present and the status.
    #[inline]
    fn push_reading(&self, meter: &[u8], time: i64, present: u8, values: &[f64], status: Option<&[u8]>, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"reading\":{\"meter_id\":\"");
        push_escaped(meter, out);
        out.extend_from_slice(b"\",\"timestamp\":");
        push_integer(time, out);
        for (index, (channel, value)) in self.channels.iter().zip(values).enumerate() {
            if present >> index & 1 == 1 {
                out.extend_from_slice(&channel.key);
                push_float(*value, out);
            }
        }
        if let Some(status) = status {
            out.extend_from_slice(b",\"status\":\"");
            push_escaped(status, out);
            out.push(b'"');
        }
        out.push(b'}');
    }
}
