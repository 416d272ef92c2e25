//! Files of every accepted shape.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn types(discovery: &Discovery) -> Vec<FieldType> {
    discovery.fields.iter().map(|field| field.field_type).collect()
}

#[test]
fn types_are_proposed_from_the_whole_file() {
    let csv = "flag,n,zip,x,when,mixed,tags,skills,none\n\
               TRUE,1,01234,1,2024-01-31 10:00,1,\"[\"\"a\"\"]\",\"{\"\"en\"\":5}\",\n\
               false,NA,00001,2.5,2024-02-01T10:00:00Z,x,[],\"{\"\"fr\"\":true}\",NULL\n";
    let discovery = discovered(csv).unwrap();
    use FieldType::*;
    assert_eq!(types(&discovery), [Boolean, Integer, String, Float, Timestamp, String, List, Dict, String]);
    assert_eq!(
        (discovery.rows, discovery.fields[0].confidence, discovery.fields[8].confidence),
        (2, Some(1.0), Some(0.0))
    );
    assert_eq!(discovery.fields[1].samples, ["1"]);
    let mut found = discovery.missing_values_found.clone();
    found.sort();
    assert_eq!(found, ["", "NA", "NULL"]);
    assert_eq!(discovery.format.separator.as_deref(), Some(","));
}

#[test]
fn separators_encodings_and_containers_give_the_same_rows() {
    let plain = "name,n\nJosé,1\n\"a, b\",2\n";
    let expected = vec![vec![json!("José"), json!(1)], vec![json!("a, b"), json!(2)]];
    let utf16 = |big: bool| -> Vec<u8> {
        let mark = if big { [0xfe, 0xff] } else { [0xff, 0xfe] };
        let units = plain.encode_utf16().flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() });
        mark.into_iter().chain(units).collect()
    };
    let files: Vec<Vec<u8>> = vec![
        plain.into(),
        [b"\xef\xbb\xbf", plain.as_bytes()].concat(),
        plain.replace('\n', "\r\n").into(),
        plain.replace('\n', "\r").into(),
        "name;n\nJosé;1\na, b;2".into(),
        "name\tn\nJosé\t1\na, b\t2\n\n".into(),
        "name|n\nJosé|1\na, b|2\n".into(),
        utf16(false),
        utf16(true),
        gzip(plain.as_bytes()),
        [gzip(&plain.as_bytes()[..9]), gzip(&plain.as_bytes()[9..])].concat(),
        zipped(&[("names.csv", plain.as_bytes())]),
        zipped(&[("names.csv", plain.as_bytes()), ("__MACOSX/._names.csv", b"x")]),
        "{\"name\":\"José\",\"n\":1}\n\n{\"n\":2,\"name\":\"a, b\"}".into(),
    ];
    for (at, file) in files.iter().enumerate() {
        let loaded = load(file, &IngestOptions::default()).unwrap_or_else(|error| panic!("file {at}: {error}"));
        assert_eq!(all_rows(&loaded), expected, "file {at}");
    }
    let format = FileFormat { encoding: Some("windows-1252".to_owned()), ..FileFormat::default() };
    let fields = schema(vec![Field::new("name", FieldType::String), Field::new("n", FieldType::Integer)]);
    let loaded = load_as(b"name,n\nJos\xe9,1\n\"a, b\",2\n", &fields, &format, &IngestOptions::default()).unwrap();
    assert_eq!(all_rows(&loaded), expected);
}

#[test]
fn parquet_files_are_read_and_nested_types_refused_by_name() {
    // Our own segments are Parquet files, too.
    let csv = "t,n,s,l,d\n2024-01-01,1,a,\"[\"\"x\"\",\"\"y\"\"]\",\"{\"\"k\"\":1.5}\"\n2024-01-02,,b,[],{}\n2024-01-03,3,,,\n";
    let first = load(csv.as_bytes(), &IngestOptions::default()).unwrap();
    let bytes = first.store.0[&first.segments[0].object_key].to_vec();
    let discovery = discovered(bytes.clone()).unwrap();
    use FieldType::*;
    assert_eq!(types(&discovery), [Timestamp, Integer, String, List, Dict]);
    assert_eq!((discovery.rows, discovery.format.format.as_deref()), (3, Some("parquet")));
    let again = load(&bytes, &IngestOptions::default()).unwrap();
    assert_eq!(all_rows(&again), all_rows(&first));
    assert_eq!(
        all_rows(&first)[0],
        [json!("2024-01-01T00:00:00.000000Z"), json!(1), json!("a"), json!(["x", "y"]), json!({"k": 1.5})]
    );
    assert_eq!(
        all_rows(&first)[1],
        [json!("2024-01-02T00:00:00.000000Z"), json!(null), json!("b"), json!([]), json!({})]
    );
    assert_eq!(
        all_rows(&first)[2],
        [json!("2024-01-03T00:00:00.000000Z"), json!(3), json!(null), json!(null), json!(null)]
    );
    assert_eq!(code_of(discovered(&bytes[..bytes.len() / 2])), "damaged_parquet");
}

#[test]
fn json_lines_may_lack_keys_and_have_no_others() {
    let fields = schema(vec![Field::new("a", FieldType::Integer), Field::new("b", FieldType::List)]);
    let mut lines = String::from(
        "{\"a\":1,\"b\":[\"x\"]}\n{\"b\":null}\n{\"a\":2,\"c\":1}\nnot json\n{\"a\":1,\"a\":2}\n{\"a\":1.5}\n",
    );
    (0..60).for_each(|i| lines += &format!("{{\"a\":{i}}}\n"));
    let loaded = load_as(lines.as_bytes(), &fields, &FileFormat::default(), &IngestOptions::default()).unwrap();
    assert_eq!((loaded.summary.rows, loaded.summary.rejected_rows), (62, 4));
    assert!(loaded.rejected.contains("3,c,1,the schema has no such field"), "{}", loaded.rejected);
    assert_eq!(code_of(discovered("[{\"a\":1},\n{\"a\":2}]")), "json_array");
}

#[test]
fn chosen_types_accept_epochs_and_words() {
    let fields = schema(vec![Field::new("t", FieldType::Timestamp), Field::new("b", FieldType::Boolean)]);
    let loaded = load_as(
        b"t,b\n1700000000,1\n1700000000000,False\n",
        &fields,
        &FileFormat::default(),
        &IngestOptions::default(),
    );
    let rows = all_rows(&loaded.unwrap());
    assert_eq!(
        rows,
        vec![
            vec![json!("2023-11-14T22:13:20.000000Z"), json!(true)],
            vec![json!("2023-11-14T22:13:20.000000Z"), json!(false)]
        ]
    );
}

#[test]
fn profile_records_come_with_id_and_typed_fields() {
    let fields = schema(vec![
        Field::new("loginStatus", FieldType::Integer),
        Field::new("skills", FieldType::Dict),
        Field::new("groups", FieldType::List),
    ]);
    let csv = "agent_id,loginStatus,skills,groups\n007,4,\"{\"\"English\"\":5,\"\"night\"\":true}\",\"[\"\"vip\"\"]\"\n,1,,\n8,x,,\n9,,,\n";
    let format = FileFormat::default();
    let mut options = IngestOptions::default();
    options.limits.max_rejected_share = 1.0;
    let mut batches = Vec::new();
    let summary = for_each_record(input(csv, &format), &fields, "agent_id", &options, &Silent, &mut |batch| {
        batches.push(batch);
        Ok(())
    });
    assert_eq!(summary.unwrap(), RecordsSummary { records: 2, rejected_rows: 2, uncompressed_bytes: csv.len() as u64 });
    let records: Vec<_> = batches.iter().flat_map(|batch| &batch.records).collect();
    assert_eq!((records[0].id.as_str(), records[1].id.as_str(), records[1].line), ("007", "9", 5));
    assert_eq!(
        serde_json::to_value(&records[0].fields).unwrap(),
        json!({"loginStatus": 4, "skills": {"English": 5, "night": true}, "groups": ["vip"]})
    );
    assert!(records[1].fields.is_empty());

    let json = "{\"agent_id\":\"1\",\"skills\":{\"one\":1,\"off\":false}}";
    let mut skills = Vec::new();
    let take = &mut |batch: RecordBatch| {
        skills.extend(batch.records.into_iter().map(|record| record.fields["skills"].clone()));
        Ok(())
    };
    for_each_record(input(json, &format), &fields, "agent_id", &options, &Silent, take).unwrap();
    assert_eq!(skills, [json!({"one": 1, "off": false})]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What the csv crate writes, we read back, however it is quoted and wherever the buffer ends.
    #[test]
    fn written_csv_is_read_back(rows in proptest::collection::vec(proptest::collection::vec("[a-z,\"\n\r ;é]{0,8}", 3), 1..40)) {
        let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Necessary).from_writer(Vec::new());
        writer.write_record(["a", "b", "c"]).unwrap();
        for row in &rows {
            writer.write_record(row).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let fields = schema(["a", "b", "c"].map(|name| Field::new(name, FieldType::String)).to_vec());
        let format = FileFormat { separator: Some(",".to_owned()), missing_values: Some(vec![]), ..FileFormat::default() };
        let loaded = load_as(&bytes, &fields, &format, &IngestOptions::default()).unwrap();
        // Blank values are missing.
        let expected: Vec<Vec<serde_json::Value>> = rows
            .iter()
            .map(|row| row.iter().map(|v| if v.trim_matches([' ', '\t']).is_empty() { json!(null) } else { json!(v) }).collect())
            .collect();
        prop_assert_eq!(all_rows(&loaded), expected);
    }
}
