//! Files that are at fault: each ends in an error that says what and where, in bounded memory.

use std::io::{Read, Seek, SeekFrom};

use super::*;

#[test]
fn an_empty_file_and_a_header_without_rows_are_told_apart() {
    assert_eq!(code_of(discovered("")), "empty_file");
    assert_eq!(code_of(discovered("\n\n")), "empty_file");
    assert_eq!(code_of(discovered(gzip(b""))), "empty_file");
    assert_eq!(code_of(discovered("a,b\n")), "no_rows");
}

#[test]
fn gzip_members_follow_each_other_and_nothing_else_does() {
    let two = [gzip(b"a\n1\n"), gzip(b"2\n")].concat();
    assert_eq!(discovered(two).unwrap().rows, 2);
    for garbage in [&b"garbage"[..], b"x", &[0; 512]] {
        let error = discovered([&gzip(b"a\n1\n")[..], garbage].concat()).unwrap_err();
        assert_eq!(error.code(), Some("damaged_gzip"));
        assert!(error.to_string().contains("follows the compressed data"), "{error}");
    }
    let whole = gzip(b"a\n1\n");
    assert_eq!(code_of(discovered(&whole[..whole.len() - 3])), "truncated_gzip");
}

#[test]
fn headers_must_be_there_and_differ() {
    assert_eq!(code_of(discovered("a,,c\n1,2,3\n")), "empty_header");
    assert_eq!(code_of(discovered("a,b,a\n1,2,3\n")), "duplicate_header");
}

#[test]
fn too_many_columns_name_the_limit() {
    let header: Vec<String> = (0..100_000).map(|i| format!("c{i}")).collect();
    let error = discovered(format!("{}\n{}\n", header.join(","), vec!["1"; 100_000].join(","))).unwrap_err();
    assert_eq!(error.code(), Some("too_many_columns"));
    assert!(error.to_string().contains("MAX_COLUMNS"), "{error}");
}

#[test]
fn ragged_rows_are_rejected_with_their_numbers_of_values() {
    let mut csv = String::from("a,b\n");
    for i in 0..100 {
        csv += &format!("{i},x\n");
    }
    csv += "1,2,3\n4\n";
    let loaded = load(csv.as_bytes(), &IngestOptions::default()).unwrap();
    assert_eq!((loaded.summary.rows, loaded.summary.rejected_rows), (100, 2));
    assert_eq!(
        loaded.rejected,
        "line,column,value,reason\n102,,,\"the row has 3 values, the header has 2\"\n103,,,\"the row has 1 values, the header has 2\"\n"
    );
    assert_eq!(code_of(discovered("a,b\n1\n2\n3,4\n")), "too_many_rejected");
}

#[test]
fn a_wrong_type_far_down_rejects_that_row_and_many_fail_the_whole() {
    let mut csv = String::from("id,n\n");
    for i in 1..=250_001 {
        csv += &if i == 250_001 { format!("{i},abc\n") } else { format!("{i},{}\n", i % 7) };
    }
    let fields = schema(vec![Field::new("id", FieldType::Integer), Field::new("n", FieldType::Integer)]);
    let loaded = load_as(csv.as_bytes(), &fields, &FileFormat::default(), &IngestOptions::default()).unwrap();
    assert_eq!((loaded.summary.rows, loaded.summary.rejected_rows), (250_000, 1));
    assert!(loaded.rejected.contains("250002,n,abc,it is not a whole number"), "{}", loaded.rejected);
    // Discovery of the same file proposes String, and says which value keeps it from Integer.
    let discovery = discovered(csv).unwrap();
    assert_eq!(discovery.fields[1].field_type, FieldType::String);
    assert_eq!((discovery.hints[0].narrower, discovery.hints[0].line), (FieldType::Integer, 250_002));

    let mut bad = String::from("id,n\n");
    (0..50_000).for_each(|i| bad += if i % 5 == 0 { "1,x\n" } else { "1,2\n" });
    let error = load_as(bad.as_bytes(), &fields, &FileFormat::default(), &IngestOptions::default()).err().unwrap();
    assert_eq!(error.code(), Some("too_many_rejected"));
    // It ended after 10,000 rows and not at the end.
    assert!(error.to_string().contains("of 100"), "{error}");
}

#[test]
fn nul_bytes_and_invalid_encodings_name_the_place() {
    let error = discovered(&b"a,b\n1,2\n3,\0\n"[..]).unwrap_err();
    assert_eq!((error.code(), error.to_string().starts_with("line 3: ")), (Some("nul_byte"), true), "{error}");
    let error = discovered(&b"a,b\n1,2\n3,caf\xe9\n"[..]).unwrap_err();
    assert_eq!(error.code(), Some("invalid_encoding"));
    assert!(error.to_string().contains("offset 13") && error.to_string().contains("line 3"), "{error}");
    let utf16: Vec<u8> = "a,b\n1,2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = discovered(utf16).unwrap_err();
    assert!(error.to_string().contains("utf-16le"), "{error}");
    assert_eq!(
        code_of(discovered([&[0xff, 0xfe][..], &[b'a', 0, b'\n', 0, 0, 0xd8, b'x', 0]].concat())),
        "invalid_encoding"
    );
}

#[test]
fn an_unclosed_quote_names_the_line_where_it_opens() {
    let error = discovered("a,b\n1,\"x\ny\"\n2,\"never closed\n3,4\n5,6\n").unwrap_err();
    assert_eq!(error.code(), Some("unclosed_quote"));
    assert!(error.to_string().starts_with("line 4: "), "{error}");
    let error = discovered("a,b\n\"x\" y,2\n1,2\n").unwrap_err();
    assert_eq!(error.code(), Some("too_many_rejected"));
}

/// Two gigabytes of one byte, without holding them.
struct Endless {
    start: &'static [u8],
    fill: u8,
    position: u64,
    size: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = buffer.len().min(usize::try_from(self.size - self.position).unwrap_or(usize::MAX));
        for byte in &mut buffer[..n] {
            *byte = self.start.get(self.position as usize).copied().unwrap_or(self.fill);
            self.position += 1;
        }
        Ok(n)
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        if let SeekFrom::Start(position) = to {
            self.position = position;
        }
        Ok(self.position)
    }
}

#[test]
fn one_huge_line_ends_at_the_limit() {
    for (start, code) in
        [(&b"a,b\n1,"[..], "row_too_long"), (b"a,b\n1,\"", "unclosed_quote"), (b"{\"a\":\"", "row_too_long")]
    {
        let size = 2 << 30;
        let reader = Box::new(Endless { start, fill: b'x', position: 0, size });
        let format = FileFormat::default();
        let file = InputFile { reader, size_bytes: size, filename: "huge.csv", format: &format };
        assert_eq!(code_of(discover(file, &Limits::default(), &mut Vec::new(), &Silent)), code);
    }
}

#[test]
fn a_long_value_rejects_its_row() {
    let limits = Limits { max_value_bytes: 100, ..Limits::default() };
    let options = IngestOptions { limits, ..IngestOptions::default() };
    let mut csv = String::from("a,b\n");
    (0..50).for_each(|_| csv += "1,x\n");
    csv += &format!("2,{}\n", "y".repeat(300));
    let loaded = load(csv.as_bytes(), &options).unwrap();
    assert_eq!(loaded.summary.rejected_rows, 1);
    assert!(loaded.rejected.contains("MAX_VALUE_BYTES"), "{}", loaded.rejected);
}

#[test]
fn damaged_and_tricky_archives_are_refused() {
    let csv = b"a,b\n".repeat(5_000);
    let whole = gzip(&csv);
    assert_eq!(code_of(discovered(&whole[..whole.len() / 2])), "truncated_gzip");
    let mut flipped = whole.clone();
    let tail = flipped.len() - 6;
    flipped[tail] ^= 0xff;
    assert_eq!(code_of(discovered(flipped)), "damaged_gzip");
    assert_eq!(code_of(discovered(zipped(&[("a.csv", b"a\n1\n"), ("b.csv", b"a\n1\n")]))), "zip_not_one_file");
    assert_eq!(code_of(discovered(zipped(&[]))), "zip_not_one_file");
    for name in ["../a.csv", "/etc/a.csv", "data/a.csv", "..\\a.csv", "C:a.csv"] {
        assert_eq!(code_of(discovered(zipped(&[(name, b"a\n1\n")]))), "zip_path_name", "{name}");
    }
    let mut damaged = zipped(&[("a.csv", &csv)]);
    let crc = csv.len() as u64;
    assert!(crc > 0);
    let local_data = 30 + "a.csv".len() + 20;
    damaged[local_data] ^= 0x55;
    assert_eq!(code_of(discovered(damaged)), "damaged_zip");
    let whole = zipped(&[("a.csv", &csv)]);
    assert_eq!(code_of(discovered(&whole[..whole.len() - 30])), "damaged_zip");
}

#[test]
fn a_decompression_bomb_ends_at_the_limit() {
    let limits = Limits { max_uncompressed_bytes: 1 << 20, ..Limits::default() };
    let bomb = b"1,2\n".repeat(2 << 20);
    for bytes in [zipped(&[("a.csv", &bomb)]), gzip(&bomb)] {
        let error = discover(input(bytes, &FileFormat::default()), &limits, &mut Vec::new(), &Silent).unwrap_err();
        assert_eq!(error.code(), Some("too_much_data"));
        assert!(error.to_string().contains("MAX_UNCOMPRESSED_BYTES"), "{error}");
    }
}

#[test]
fn id_is_refused_as_id_column() {
    for name in ["ID", "id", "_id", "_ID"] {
        let csv = format!("{name},x\n1,2\n");
        let options = IngestOptions::default();
        let fields = schema(vec![Field::new("x", FieldType::Integer)]);
        let format = FileFormat::default();
        let result = for_each_record(input(csv, &format), &fields, name, &options, &Silent, &mut |_| Ok(()));
        assert_eq!(code_of(result), "reserved_id_field");
    }
}

#[test]
fn columns_must_match_the_schema() {
    let fields = schema(vec![Field::new("a", FieldType::Integer), Field::new("b", FieldType::Integer)]);
    let format = FileFormat::default();
    let options = IngestOptions::default();
    assert_eq!(load_as(b"a,b,c\n1,2,3\n", &fields, &format, &options).err().unwrap().code(), Some("unknown_column"));
    assert_eq!(load_as(b"a\n1\n", &fields, &format, &options).err().unwrap().code(), Some("missing_column"));
    let lenient = IngestOptions { unknown_columns: UnknownColumns::LeaveOut, ..options };
    assert_eq!(load_as(b"c,b,a\n3,2,1\n", &fields, &format, &lenient).unwrap().summary.rows, 1);
}

#[test]
fn a_source_that_fails_is_not_the_files_fault() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("connection reset"))
        }
    }
    impl Seek for Broken {
        fn seek(&mut self, _: SeekFrom) -> std::io::Result<u64> {
            Ok(0)
        }
    }
    let format = FileFormat::default();
    let file = InputFile { reader: Box::new(Broken), size_bytes: 10, filename: "a.csv", format: &format };
    assert!(matches!(discover(file, &Limits::default(), &mut Vec::new(), &Silent), Err(IngestError::Source(_))));
}
