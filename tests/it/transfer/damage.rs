//! A copy that is damaged, incomplete or foreign is refused, by the file's name, before anything changes.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{config_of, contents, files, objects, path, refused, stopped_source, succeeded, tango};
use crate::app::{Folder, TestApp};

/// A copy of a backup that a test may damage.
fn copy_of(backup: &Path) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let copy = parent.path().join("copy");
    for file in files(backup) {
        let to = copy.join(file.strip_prefix(backup).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    (parent, copy)
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

/// Writes the list of checksums anew, as somebody would who changes a backup by hand.
fn sum_up(folder: &Path) {
    let mut lines = String::new();
    for file in files(folder) {
        let name = file.strip_prefix(folder).unwrap().to_str().unwrap();
        if name != "SHA256SUMS" {
            lines += &format!("{}  {name}\n", hex::encode(Sha256::digest(std::fs::read(&file).unwrap())));
        }
    }
    let last = format!("# the lines above have the sha256 {}\n", hex::encode(Sha256::digest(&lines)));
    std::fs::write(folder.join("SHA256SUMS"), lines + &last).unwrap();
}

#[tokio::test]
async fn nothing_changes_when_a_backup_is_not_whole() {
    let source = stopped_source().await;
    let backup = source.path().join("backup");
    succeeded(tango(source.path(), &["backup", backup.to_str().unwrap()]));
    let target = stopped_source().await;
    let (before, objects_before) = (contents(&config_of(target.path())).await, objects(target.path()));
    let segment = files(&backup.join("objects/seg")).remove(0);
    let segment = segment.strip_prefix(&backup).unwrap().to_str().unwrap().to_owned();
    let file_name = segment.rsplit('/').next().unwrap().to_owned();

    type Damage<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>, Vec<&'a str>);
    let damages: Vec<Damage<'_>> = vec![
        ("an object's byte", Box::new(|copy| flip(&copy.join(&segment), 100)), vec![&file_name, "checksum"]),
        (
            "a cut object",
            Box::new(|copy| {
                let bytes = std::fs::read(copy.join(&segment)).unwrap();
                std::fs::write(copy.join(&segment), &bytes[..bytes.len() / 2]).unwrap();
            }),
            vec![&file_name, "checksum"],
        ),
        ("no object", Box::new(|copy| std::fs::remove_file(copy.join(&segment)).unwrap()), vec![&file_name, "missing"]),
        (
            "a document's byte",
            Box::new(|copy| flip(&copy.join("tango/agents.bson"), 90)),
            vec!["agents.bson", "damaged"],
        ),
        (
            "a cut dump",
            Box::new(|copy| {
                let bytes = std::fs::read(copy.join("tango/jobs.bson")).unwrap();
                std::fs::write(copy.join("tango/jobs.bson"), &bytes[..bytes.len() - 7]).unwrap();
            }),
            vec!["jobs.bson", "middle of a document"],
        ),
        (
            "no dump",
            Box::new(|copy| std::fs::remove_file(copy.join("tango/users.bson")).unwrap()),
            vec!["users.bson", "missing"],
        ),
        ("the manifest's byte", Box::new(|copy| flip(&copy.join("tango.json"), 40)), vec!["tango.json", "checksum"]),
        ("the list's byte", Box::new(|copy| flip(&copy.join("SHA256SUMS"), 5)), vec!["SHA256SUMS", "checksum"]),
        (
            "no list",
            Box::new(|copy| std::fs::remove_file(copy.join("SHA256SUMS")).unwrap()),
            vec!["no SHA256SUMS", "A dump of the database alone"],
        ),
        (
            "half written",
            Box::new(|copy| std::fs::write(copy.join("INCOMPLETE"), "").unwrap()),
            vec!["interrupted", "run the command that made it again"],
        ),
        (
            "a newer form",
            Box::new(|copy| {
                let text = std::fs::read_to_string(copy.join("tango.json")).unwrap();
                let text = text
                    .replace("\"format\": 1", "\"format\": 2")
                    .replace("\"min_program\": \"0.1.0\"", "\"min_program\": \"7.5.0\"");
                std::fs::write(copy.join("tango.json"), text).unwrap();
                sum_up(copy);
            }),
            vec!["newer form", "use tango 7.5.0 or newer"],
        ),
        (
            "a reference to nothing",
            Box::new(|copy| {
                std::fs::remove_file(copy.join(&segment)).unwrap();
                sum_up(copy);
            }),
            vec!["does not hold all that it refers to", &file_name, "Nothing was changed"],
        ),
        (
            "fewer documents than told",
            Box::new(|copy| {
                std::fs::write(copy.join("tango/customers.bson"), b"").unwrap();
                sum_up(copy);
            }),
            vec!["customers.bson", "0 documents instead of 60"],
        ),
    ];
    for (what, damage, words) in damages {
        let (_keep, copy) = copy_of(&backup);
        damage(&copy);
        println!("{what}");
        let copy = copy.to_str().unwrap();
        refused(tango(target.path(), &["restore", "--check", copy]), &words);
        refused(tango(target.path(), &["restore", "--drop", copy]), &words);
        assert_eq!(contents(&config_of(target.path())).await, before, "{what}");
        assert_eq!(objects(target.path()), objects_before, "{what}");
    }
    let nowhere = path(source.path(), "nowhere");
    refused(tango(target.path(), &["restore", &nowhere]), &["there is no such folder"]);
    // The untouched one is fine.
    succeeded(tango(target.path(), &["restore", "--check", backup.to_str().unwrap()]));
}

#[tokio::test]
async fn a_store_that_lost_an_object_says_so_and_what_is_left_can_be_saved() {
    let source = stopped_source().await;
    let lost = objects(source.path()).into_iter().find(|key| key.starts_with("seg/")).unwrap();
    std::fs::remove_file(source.path().join("data/objects/tango").join(&lost)).unwrap();
    let backup = path(source.path(), "backup");
    refused(tango(source.path(), &["backup", &backup]), &["not whole", &lost, "--skip-missing"]);
    let said = succeeded(tango(source.path(), &["backup", &backup, "--skip-missing"]));
    assert!(said.contains(&format!("NOT IN IT          the object {lost} is missing")), "{said}");
    let target = Folder::new();
    let said = succeeded(tango(target.path(), &["restore", &backup]));
    assert!(said.contains(&lost), "{said}");
    let app = TestApp::start_at(target, std::sync::Arc::new(tango::clock::SystemClock), |_| {}).await;
    app.get("/api/v1/agents/records/a7").send().await.expect_status(200);
}
