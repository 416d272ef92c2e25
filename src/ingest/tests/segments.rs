//! Segments: sorted, counted, found again, rewritten.

use serde_json::json;

use super::*;
use crate::domain::Timestamp;
use crate::domain::schema::Role;

/// Rows of interactions, not in order of time.
fn interactions(rows: u64) -> Vec<u8> {
    let mut csv = String::from("time,agent_id,customer_id,reason,handle_s,tags\n");
    for i in 0..rows {
        let shuffled = i * 7_919 % rows;
        let time = Timestamp::from_timestamp(1_700_000_000 + shuffled as i64 * 60, 0).unwrap();
        csv += &format!(
            "{},agent{:03},{},{},{}.5,{}\n",
            time.format("%Y-%m-%d %H:%M:%S"),
            i % 50,
            i * 31 % (rows / 10).max(1),
            ["billing", "sales", "NA"][i as usize % 3],
            i % 400,
            if i % 4 == 0 { "\"[\"\"vip\"\",\"\"new\"\"]\"" } else { "" },
        );
    }
    csv.into_bytes()
}

fn loaded(rows: u64, segment_rows: usize) -> Loaded {
    load(&interactions(rows), &IngestOptions { segment_rows, ..IngestOptions::default() }).unwrap()
}

fn test(column: &str, comparison: RowComparison, value: serde_json::Value) -> RowTest {
    RowTest { column: column.to_owned(), comparison, value }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000 + minute * 60, 0).unwrap()
}

#[test]
fn segments_are_bounded_sorted_and_described() {
    let loaded = loaded(25_000, 10_000);
    let roles: Vec<Option<Role>> = loaded.schema.fields.iter().map(|field| field.role).collect();
    assert_eq!(&roles[..3], [Some(Role::Timestamp), Some(Role::AgentId), Some(Role::CustomerId)]);
    assert_eq!(loaded.segments.iter().map(|s| s.directory.rows).collect::<Vec<_>>(), [10_000, 10_000, 5_000]);
    assert_eq!((loaded.summary.from, loaded.summary.to), (Some(at(0)), Some(at(24_999))));
    let first = &loaded.segments[0].directory;
    let reason = first.column("reason").unwrap();
    assert_eq!((reason.nulls, &reason.min, &reason.max), (3_333, &Some(json!("billing")), &Some(json!("sales"))));
    assert!(
        first.column("agent_id").unwrap().bloom.is_some() && first.column("customer_id").unwrap().postings.is_some()
    );
    for segment in &loaded.segments {
        let tables: Vec<_> =
            scan(&loaded.store, std::slice::from_ref(segment), &loaded.schema, &["time".to_owned()], None, None)
                .unwrap()
                .collect::<Result<Vec<_>>>()
                .unwrap();
        let crate::domain::column::Column::Timestamp(times) = &tables[0].columns[0].1 else { panic!("a time") };
        assert!(times.is_sorted());
    }
    let counts = loaded.summary.cardinality.to_field_cardinalities();
    let of = |name: &str| counts.iter().find(|field| field.field == name).unwrap();
    assert_eq!((of("agent_id").distinct, of("agent_id").rows, of("customer_id").distinct), (50, 25_000, 2_500));
    assert_eq!((of("reason").nulls, of("tags").distinct, of("handle_s").distinct), (8_333, 2, 400));
    assert!(!of("time").exact && (of("time").distinct as f64 / 25_000.0 - 1.0).abs() < 0.03);
    assert_eq!(of("reason").values.as_ref().unwrap()[0].count, 8_334);
}

/// Every filter gives what a look at every row gives, and pages of any size give the same.
#[test]
fn filtered_pages_equal_a_full_look() {
    use RowComparison::*;
    let loaded = loaded(20_000, 6_000);
    let everything = all_rows(&loaded);
    assert_eq!(everything.len(), 20_000);
    type Expected = Box<dyn Fn(&[serde_json::Value]) -> bool>;
    let filters: Vec<(Vec<RowTest>, Expected)> = vec![
        (vec![test("customer_id", Equal, json!(77))], Box::new(|row| row[2] == json!(77))),
        (vec![test("customer_id", Equal, json!(77.0))], Box::new(|row| row[2] == json!(77))),
        (vec![test("customer_id", Equal, json!("77"))], Box::new(|_| false)),
        (
            vec![test("agent_id", Equal, json!("agent007")), test("handle_s", Less, json!(100))],
            Box::new(|row| row[1] == json!("agent007") && row[4].as_f64().unwrap() < 100.0),
        ),
        (vec![test("reason", NotEqual, json!("sales"))], Box::new(|row| row[3] != json!("sales"))),
        (
            vec![test("reason", Exists, json!(null)), test("tags", Contains, json!("vip"))],
            Box::new(|row| !row[3].is_null() && !row[5].is_null()),
        ),
        (
            vec![test("time", GreaterOrEqual, json!("2023-11-20T00:00:00Z"))],
            Box::new(|row| row[0].as_str().unwrap() >= "2023-11-20T00:00:00.000000Z"),
        ),
        (
            vec![test("agent_id", Greater, json!("agent048")), test("agent_id", LessOrEqual, json!("agent049"))],
            Box::new(|row| row[1] == json!("agent049")),
        ),
        (vec![test("agent_id", Equal, json!("agent999"))], Box::new(|_| false)),
    ];
    for (tests, passes) in filters {
        let filter = RowFilter { tests, ..RowFilter::default() };
        let expected: Vec<_> = everything.iter().filter(|row| passes(row)).cloned().collect();
        for limit in [7_000, 501] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page =
                    read_rows(&loaded.store, &loaded.segments, &loaded.schema, &filter, &[], after, limit).unwrap();
                found.extend(rows_in(&page.table));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?} by {limit}");
        }
    }
}

#[test]
fn a_customers_rows_are_found_by_reading_little() {
    let loaded = loaded(200_000, 50_000);
    let filter =
        RowFilter { tests: vec![test("customer_id", RowComparison::Equal, json!(4_321))], ..RowFilter::default() };
    let page = read_rows(&loaded.store, &loaded.segments, &loaded.schema, &filter, &[], None, 100).unwrap();
    assert_eq!((page.table.rows, page.next), (10, None));
    // Again with the segments' ends in memory: the same rows for fewer bytes.
    let footers = FooterCache::new(1 << 20);
    let costs = [(); 3].map(|()| {
        let source = footers.over(&loaded.store);
        let again = read_rows(&source, &loaded.segments, &loaded.schema, &filter, &[], None, 100).unwrap();
        assert_eq!(rows_in(&again.table), rows_in(&page.table));
        again.cost
    });
    assert_eq!((costs[0], costs[1]), (page.cost, costs[2]));
    assert_eq!(costs[1].reads + costs[1].segments_opened, page.cost.reads);
    assert!(costs[1].bytes < page.cost.bytes);
    let none =
        RowFilter { tests: vec![test("customer_id", RowComparison::Equal, json!(10_000_000))], ..RowFilter::default() };
    let page = read_rows(&loaded.store, &loaded.segments, &loaded.schema, &none, &[], None, 100).unwrap();
    assert_eq!((page.table.rows, page.cost.segments_opened, page.cost.bytes), (0, 0, 0));
}

#[test]
fn scans_take_a_time_range_and_columns() {
    let loaded = loaded(20_000, 6_000);
    let columns = ["reason".to_owned(), "handle_s".to_owned()];
    let tables: Vec<_> =
        scan(&loaded.store, &loaded.segments, &loaded.schema, &columns, Some(at(1_000)), Some(at(3_000)))
            .unwrap()
            .collect::<Result<Vec<_>>>()
            .unwrap();
    assert_eq!(tables.iter().map(|table| table.rows).sum::<usize>(), 2_000);
    assert!(
        tables.iter().all(|table| table.columns.len() == 2 && table.columns.iter().all(|(_, c)| c.len() == table.rows))
    );
    let all: usize =
        scan(&loaded.store, &loaded.segments, &loaded.schema, &[], None, None).unwrap().map(|t| t.unwrap().rows).sum();
    assert_eq!(all, 20_000);
}

#[test]
fn small_segments_merge_by_time_and_lose_nothing() {
    let loaded = loaded(20_000, 1_000);
    let mut merged: Vec<EncodedSegment> = Vec::new();
    let options = IngestOptions { segment_rows: 8_000, ..IngestOptions::default() };
    merge_segments(&loaded.store, &loaded.segments, &loaded.schema, &options, &mut merged).unwrap();
    assert_eq!(merged.iter().map(|s| s.directory.rows).collect::<Vec<_>>(), [8_000, 8_000, 4_000]);
    assert!(merged.windows(2).all(|pair| pair[0].directory.to < pair[1].directory.from));
    let (segments, store) = stored(merged);
    let after = Loaded { segments, store, ..loaded };
    let mut rows = all_rows(&after);
    assert_eq!(rows.len(), 20_000);
    rows.dedup();
    assert_eq!(rows.len(), 20_000);
}

#[test]
fn a_date_range_goes_and_the_rest_stays() {
    let loaded = loaded(5_000, 100_000);
    let options = IngestOptions::default();
    let cut = |from, to| {
        filter_range(&loaded.store, &loaded.segments[0], &loaded.schema, at(from), at(to), &options).unwrap()
    };
    let directory = cut(1_000, 4_000).unwrap().directory;
    assert_eq!((directory.rows, directory.from, directory.to), (2_000, Some(at(0)), Some(at(4_999))));
    assert!(cut(0, 5_000).is_none());
}

#[test]
fn a_changed_schema_rewrites_the_values_or_names_the_one_that_does_not_fit() {
    let loaded = loaded(1_000, 100_000);
    let mut to = loaded.schema.clone();
    to.fields[2].field_type = FieldType::String;
    to.fields[4].field_type = FieldType::String;
    to.fields.remove(5);
    to.fields.push(Field::new("extra", FieldType::Float));
    let options = IngestOptions::default();
    let converted = convert_segment(&loaded.store, &loaded.segments[0], &loaded.schema, &to, &options).unwrap();
    let (segments, store) = stored(vec![converted]);
    let after =
        Loaded { schema: to.clone(), segments, store, summary: loaded.summary.clone(), rejected: String::new() };
    let (before, rows) = (all_rows(&loaded), all_rows(&after));
    assert_eq!(rows.len(), 1_000);
    assert_eq!(rows[5][2], json!(before[5][2].to_string()));
    assert_eq!(rows[5][5], json!(null));
    to.fields[3].field_type = FieldType::Integer;
    let error = convert_segment(&loaded.store, &loaded.segments[0], &loaded.schema, &to, &options).err().unwrap();
    assert_eq!(error.code(), Some("value_does_not_fit"));
    assert!(error.to_string().contains("reason"), "{error}");
}

#[test]
fn memory_bounds_a_segment_too() {
    let options = IngestOptions { segment_memory_bytes: 64 << 10, ..IngestOptions::default() };
    let loaded = load(&interactions(20_000), &options).unwrap();
    assert!(loaded.segments.len() > 5, "{}", loaded.segments.len());
    assert_eq!(all_rows(&loaded).len(), 20_000);
}
