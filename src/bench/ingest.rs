//! `tango bench ingest`: a file with an accepted schema to typed, counted, indexed segments on disk, beside Python's
//! pandas doing `read_csv` and `to_parquet` with the same file; a row lookup; the error of cardinalities.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::{Folder, cpu_seconds, number, peak_memory_mb, public_data, reset_peak_memory};
use crate::config::Limits;
use crate::domain::Timestamp;
use crate::domain::id::{DatasetId, SegmentId};
use crate::domain::job::Silent;
use crate::domain::schema::{FieldType, Schema};
use crate::domain::segment::Segment;
use crate::domain::upload::FileFormat;
use crate::ingest::{
    EncodedSegment, FooterCache, IngestOptions, InputFile, RejectedCsv, RowComparison, RowFilter, RowTest, SegmentSink,
    SegmentSource, Summary, discover, ingest, read_rows,
};
use crate::sketch::{Bound, FieldCounter, hash_integer};
use anyhow::{Context, Result};
use bytes::Bytes;

/// What is measured, and how large.
#[derive(Debug, Clone)]
pub struct Options {
    /// Rows of the generated file of 40 columns.
    pub rows: u64,
    /// Runs of each program, by turns; medians are printed.
    pub repeat: usize,
    /// Rows of the data set in which a customer's rows are looked up.
    pub lookup_rows: u64,
    /// `files`, `lookup` or `cardinality` alone.
    pub only: Option<String>,
    pub python: bool,
}

/// `tango bench ingest`.
pub fn command(arguments: &[String]) -> Result<()> {
    let only = arguments.iter().position(|a| a == "--only").and_then(|at| arguments.get(at + 1)).cloned();
    let options = Options {
        rows: number(arguments, "--rows")?.unwrap_or(600_000) as u64,
        repeat: number(arguments, "--repeat")?.unwrap_or(3).max(1),
        lookup_rows: number(arguments, "--lookup-rows")?.unwrap_or(10_000_000) as u64,
        only,
        python: !arguments.iter().any(|argument| argument == "--skip-python"),
    };
    run(&options, &mut io::stdout())
}

/// Runs the parts that are asked for. Files are made in the system's folder for temporary files and removed.
pub fn run(options: &Options, out: &mut dyn Write) -> Result<()> {
    let folder = Folder::new("ingest")?;
    let wanted = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    if wanted("cardinality") {
        cardinality_error(out)?;
    }
    if wanted("files") {
        if let Some(data) = public_data::folder() {
            compare(&data.join("flights.csv.gz"), &folder, options, out)?;
        } else {
            writeln!(out, "flights.csv.gz is not here: set TANGO_TEST_DATA to the folder that holds it")?;
        }
        let generated = folder.0.join("generated.csv");
        write_wide_csv(&generated, options.rows)?;
        compare(&generated, &folder, options, out)?;
    }
    if wanted("lookup") {
        lookup(&folder, options, out)?;
    }
    Ok(())
}

/// Segments as synced files, under their number.
struct Files<'a> {
    folder: &'a Path,
    segments: Vec<Segment>,
    now: Timestamp,
}

impl<'a> Files<'a> {
    fn new(folder: &'a Path) -> Self {
        Self { folder, segments: Vec::new(), now: Timestamp::UNIX_EPOCH }
    }
}

impl SegmentSink for Files<'_> {
    fn put(&mut self, segment: EncodedSegment) -> io::Result<()> {
        let object_key = format!("{}.parquet", self.segments.len());
        let mut file = File::create(self.folder.join(&object_key))?;
        file.write_all(&segment.bytes)?;
        file.sync_all()?;
        self.segments.push(Segment {
            id: SegmentId::generate(self.now),
            dataset_id: DatasetId::generate(self.now),
            object_key,
            schema_version: 1,
            directory: segment.directory,
            created_at: self.now,
        });
        Ok(())
    }
}

impl SegmentSource for Files<'_> {
    fn read_range(&self, object_key: &str, range: Range<u64>) -> io::Result<Bytes> {
        let mut file = File::open(self.folder.join(object_key))?;
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::new();
        file.take(range.end - range.start).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

fn input<'a>(path: &'a Path, format: &'a FileFormat) -> Result<InputFile<'a>> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let size_bytes = file.metadata()?.len();
    let filename = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    Ok(InputFile { reader: Box::new(file), size_bytes, filename, format })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Discovery, ingest and pandas over one file.
fn compare(path: &Path, folder: &Folder, options: &Options, out: &mut dyn Write) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let before = cpu_seconds();
    let discovery = discover(input(path, &FileFormat::default())?, &Limits::default(), &mut Vec::new(), &Silent)?;
    let discovery_seconds = cpu_seconds() - before;
    let schema = Schema { version: 1, accepted: true, fields: discovery.fields };
    let size_mb = discovery.uncompressed_bytes as f64 / 1e6;
    writeln!(out, "\n{name}: {} rows × {} columns, {size_mb:.1} MB of text", discovery.rows, schema.fields.len())?;
    let (mut ours, mut theirs, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    let mut last: Option<Summary> = None;
    let mut python_answer = String::new();
    for _ in 0..options.repeat {
        reset_peak_memory();
        let before = cpu_seconds();
        let mut files = Files::new(&folder.0);
        let mut rejected = RejectedCsv::new(io::sink());
        let ingest_options = IngestOptions::default();
        let summary =
            ingest(input(path, &discovery.format)?, &schema, &ingest_options, &mut files, &mut rejected, &Silent)?;
        ours.push(cpu_seconds() - before);
        peaks.push(peak_memory_mb());
        last = Some(summary);
        if options.python {
            match pandas(path, &folder.0.join("pandas.parquet")) {
                Ok((seconds, answer)) => {
                    theirs.push(seconds);
                    python_answer = answer;
                }
                Err(error) => {
                    writeln!(out, "pandas did not run ({error:#}); get it by: python3 -m pip install pandas pyarrow")?
                }
            }
        }
    }
    let Some(summary) = last else { return Ok(()) };
    let (seconds, times) = (median(&mut ours), summary.times);
    let rest = times.total.saturating_sub(times.read + times.count + times.index + times.encode + times.store);
    writeln!(
        out,
        "  ingest: {seconds:.2} CPU s ({:.0} MB/s); of the last run's {:.2} s: read and decompress {:.2}, split and parse {:.2}, \
         count {:.2}, index {:.2}, encode {:.2}, write {:.2}",
        size_mb / seconds,
        times.total.as_secs_f64(),
        times.read.as_secs_f64(),
        rest.as_secs_f64(),
        times.count.as_secs_f64(),
        times.index.as_secs_f64(),
        times.encode.as_secs_f64(),
        times.store.as_secs_f64(),
    )?;
    let peak = peaks.iter().copied().fold(0.0, f64::max);
    writeln!(
        out,
        "  {} rows in {} segments of together {:.1} MB, {} rejected; peak memory {peak:.0} MB",
        summary.rows,
        summary.segments,
        summary.size_bytes as f64 / 1e6,
        summary.rejected_rows,
    )?;
    writeln!(out, "  discovery of the whole file: {discovery_seconds:.2} CPU s")?;
    if !theirs.is_empty() {
        let theirs = median(&mut theirs);
        writeln!(
            out,
            "  pandas read_csv + to_parquet(zstd): {theirs:.2} CPU s ({python_answer}); ratio {:.2}",
            seconds / theirs
        )?;
    }
    Ok(())
}

/// CPU seconds of pandas (of all its threads, imports left out), and what it says of itself.
fn pandas(path: &Path, to: &Path) -> Result<(f64, String)> {
    const PROGRAM: &str = "
import sys, time, pandas, pyarrow, os
start = time.process_time()
frame = pandas.read_csv(sys.argv[1])
read = time.process_time()
frame.to_parquet(sys.argv[2], compression='zstd')
end = time.process_time()
print(end - start)
print(f'pandas {pandas.__version__}, pyarrow {pyarrow.__version__}: read {read - start:.2f}, write {end - read:.2f}, {os.path.getsize(sys.argv[2]) / 1e6:.1f} MB')
";
    let output =
        Command::new("python3").arg("-c").arg(PROGRAM).arg(path).arg(to).output().context("starting python3")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let seconds = lines.next().and_then(|line| line.parse().ok()).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("python3 said: {}", errors.lines().last().unwrap_or("nothing"))
    })?;
    Ok((seconds, lines.next().unwrap_or_default().to_owned()))
}

/// A pseudo-random number of a row and column: the same in every run.
fn draw(row: u64, column: u64) -> u64 {
    hash_integer((row * 64 + column + 1).cast_signed())
}

/// Forty columns as an interaction log has them: time, ids, categories, counts, measures, flags, some missing.
fn write_wide_csv(path: &Path, rows: u64) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut names =
        vec!["start_time".to_owned(), "interaction_id".to_owned(), "agent_id".to_owned(), "customer_id".to_owned()];
    names.extend((0..10).map(|i| format!("category_{i}")));
    names.extend((0..11).map(|i| format!("count_{i}")));
    names.extend((0..12).map(|i| format!("measure_{i}")));
    names.extend((0..3).map(|i| format!("flag_{i}")));
    writeln!(out, "{}", names.join(","))?;
    for row in 0..rows {
        let time = Timestamp::from_timestamp(1_700_000_000 + (row * 20).cast_signed(), 0).unwrap_or_default();
        write!(
            out,
            "{},{:016x},agent{:04},{}",
            time.format("%Y-%m-%d %H:%M:%S"),
            draw(row, 0),
            draw(row, 1) % 1_000,
            draw(row, 2) % 200_000
        )?;
        for i in 0..10 {
            let value = draw(row, 3 + i);
            if value.is_multiple_of(20) { write!(out, ",")? } else { write!(out, ",value{}", value % (4 << i))? }
        }
        for i in 0..11 {
            let value = draw(row, 13 + i);
            if i % 3 == 0 && value.is_multiple_of(10) {
                write!(out, ",")?
            } else {
                write!(out, ",{}", value % 10u64.pow(1 + i as u32 / 2))?
            }
        }
        for i in 0..12 {
            let value = draw(row, 24 + i);
            if i % 4 == 0 && value.is_multiple_of(10) {
                write!(out, ",NA")?;
            } else {
                write!(out, ",{}.{:02}", value % 10_000, (value >> 32) % 100)?;
            }
        }
        for i in 0..3 {
            write!(out, ",{}", ["true", "false"][(draw(row, 36 + i) % 2) as usize])?;
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

/// Rows of a large log, made while they are read.
struct LookupCsv {
    rows: u64,
    next: u64,
    line: Vec<u8>,
    position: usize,
}

impl Read for LookupCsv {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.line.len() && self.next < self.rows {
            self.line.clear();
            self.position = 0;
            if self.next == 0 {
                self.line.extend_from_slice(
                    b"start_time,agent_id,customer_id,reason,language,channel,wait_s,handle_s,tier,score,resolved\n",
                );
            }
            for row in self.next..(self.next + 1_000).min(self.rows) {
                let time = Timestamp::from_timestamp(1_600_000_000 + (row * 8).cast_signed(), 0).unwrap_or_default();
                writeln!(
                    self.line,
                    "{},agent{:04},{},reason{},lang{},chan{},{},{},{},{}.{:03},{}",
                    time.format("%Y-%m-%d %H:%M:%S"),
                    draw(row, 0) % 1_000,
                    draw(row, 1) % (self.rows / 10).max(1),
                    draw(row, 2) % 40,
                    draw(row, 3) % 8,
                    draw(row, 4) % 5,
                    draw(row, 5) % 600,
                    draw(row, 6) % 2_000,
                    draw(row, 7) % 4,
                    draw(row, 8) % 100,
                    draw(row, 9) % 1_000,
                    draw(row, 10).is_multiple_of(2),
                )?;
            }
            self.next = (self.next + 1_000).min(self.rows);
        }
        let rest = &self.line[self.position..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        self.position += n;
        Ok(n)
    }
}

impl Seek for LookupCsv {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // Detection looks at the first bytes and goes back to the start; nothing else is asked for.
        if to == SeekFrom::Start(0) {
            (self.next, self.position) = (0, 0);
            self.line.clear();
        }
        Ok(0)
    }
}

/// How much is read to find one customer's rows among many.
fn lookup(folder: &Folder, options: &Options, out: &mut dyn Write) -> Result<()> {
    let rows = options.lookup_rows;
    let sample = LookupCsv { rows: rows.min(20_000), next: 0, line: Vec::new(), position: 0 };
    let format = FileFormat::default();
    let file =
        |reader| InputFile { reader: Box::new(reader), size_bytes: 1 << 30, filename: "log.csv", format: &format };
    let discovery = discover(file(sample), &Limits::default(), &mut Vec::new(), &Silent)?;
    let schema = Schema { version: 1, accepted: true, fields: discovery.fields };
    let mut files = Files::new(&folder.0);
    reset_peak_memory();
    let log = LookupCsv { rows, next: 0, line: Vec::new(), position: 0 };
    let mut rejected = RejectedCsv::new(io::sink());
    let before = Instant::now();
    let summary = ingest(file(log), &schema, &IngestOptions::default(), &mut files, &mut rejected, &Silent)?;
    let directories =
        files.segments.iter().map(|s| serde_json::to_vec(&s.directory).map_or(0, |bytes| bytes.len())).max();
    writeln!(
        out,
        "\nlookup: {rows} rows in {} segments of together {:.1} MB (largest directory {:.0} kB; made in {:.0} s, peak memory {:.0} MB)",
        summary.segments,
        summary.size_bytes as f64 / 1e6,
        directories.unwrap_or(0) as f64 / 1e3,
        before.elapsed().as_secs_f64(),
        peak_memory_mb(),
    )?;
    let footers = FooterCache::new(64 << 20);
    let warm = footers.over(&files);
    let sources: [(&str, &dyn SegmentSource); 3] =
        [("cold", &files), ("footers read for the first time", &warm), ("footers in memory", &warm)];
    for (name, source) in sources {
        let (mut shares, mut millis, mut reads, mut found) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for customer in 0..20u64 {
            let value = draw(customer, 1) % (rows / 10).max(1);
            let test =
                RowTest { column: "customer_id".to_owned(), comparison: RowComparison::Equal, value: value.into() };
            let filter = RowFilter { tests: vec![test], ..RowFilter::default() };
            let before = Instant::now();
            let page = read_rows(source, &files.segments, &schema, &filter, &[], None, 1_000)?;
            millis.push(before.elapsed().as_secs_f64() * 1e3);
            shares.push(page.cost.bytes as f64 / summary.size_bytes as f64 * 100.0);
            reads.push(page.cost.reads as f64);
            found += page.table.rows;
        }
        let worst = shares.iter().copied().fold(0.0, f64::max);
        writeln!(
            out,
            "  a customer's rows ({:.1} on average), all columns, {name}: {:.3} % of the bytes (worst {worst:.3} %), {:.0} reads, {:.1} ms",
            found as f64 / 20.0,
            median(&mut shares),
            median(&mut reads),
            median(&mut millis),
        )?;
    }
    let stored: Vec<Vec<u8>> = files.segments.iter().map(serde_json::to_vec).collect::<Result<_, _>>()?;
    let before = Instant::now();
    for bytes in &stored {
        serde_json::from_slice::<Segment>(bytes)?;
    }
    writeln!(
        out,
        "  parsing all segments' directories, which a server does once: {:.1} ms",
        before.elapsed().as_secs_f64() * 1e3
    )?;
    Ok(())
}

/// The error of distinct counts above and below the exact limit, over columns of many sizes.
fn cardinality_error(out: &mut dyn Write) -> Result<()> {
    let mut errors = Vec::new();
    let mut wrong_below = 0;
    for column in 0..60i64 {
        let distinct = (100.0 * 1.2f64.powi(column as i32)) as i64;
        let mut counter = FieldCounter::new(if column % 2 == 0 { FieldType::Integer } else { FieldType::String });
        counter.stop_counting_values();
        for value in 0..distinct {
            match counter.field_type {
                FieldType::Integer => counter.add(Bound::Integer(value * 7 + column * 1_000_003), 1),
                _ => counter.add_text(&format!("{column}-{value}"), 1),
            }
        }
        let error = counter.distinct.count() as f64 / distinct as f64 - 1.0;
        if counter.distinct.is_exact() {
            wrong_below += usize::from(error != 0.0);
        } else {
            errors.push(error);
        }
    }
    let rms = (errors.iter().map(|error| error * error).sum::<f64>() / errors.len().max(1) as f64).sqrt() * 100.0;
    let worst = errors.iter().fold(0.0f64, |worst, error| worst.max(error.abs())) * 100.0;
    writeln!(
        out,
        "cardinality: {} columns of 16,385 to 4.7 million distinct values: root mean square error {rms:.2} %, worst {worst:.2} %; \
         below: {wrong_below} of {} wrong",
        errors.len(),
        60 - errors.len(),
    )?;
    Ok(())
}
