//! The format of `tango.env`: one `NAME=value` a line.

/// Longest file that is read.
const MAX_FILE_BYTES: usize = 1 << 20;

/// One setting as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub value: String,
    /// Counted from 1.
    pub line: usize,
}

/// A file's settings, the last one of a name only, and what a person should look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvFile {
    pub entries: Vec<Entry>,
    pub warnings: Vec<String>,
}

/// Reads the text; `file` names it in warnings and errors.
pub fn parse(text: &str, file: &str) -> Result<EnvFile, String> {
    if text.len() > MAX_FILE_BYTES {
        return Err(format!("{file} is larger than {MAX_FILE_BYTES} bytes: this is hardly a file of settings"));
    }
    let mut parsed = EnvFile::default();
    for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let number = index + 1;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, raw)) = line.split_once('=') else {
            return Err(format!("{file}, line {number}: expected NAME=value, found {line:?}"));
        };
        let name = name.trim_end();
        if !is_name(name) {
            return Err(format!("{file}, line {number}: {name:?} is no name: letters, digits and underscores"));
        }
        let value = raw.trim_end();
        if value.len() != raw.len() {
            parsed.warnings.push(format!("{file}, line {number}: blanks after the value of {name} were removed"));
        }
        if is_quoted(value) {
            parsed.warnings.push(format!(
                "{file}, line {number}: the quotes are part of the value of {name}; remove them if they should not be"
            ));
        }
        if let Some(earlier) = parsed.entries.iter().position(|entry| entry.name == name) {
            let earlier = parsed.entries.remove(earlier);
            parsed.warnings.push(format!(
                "{file}, line {number}: {name} was set in line {} already; this one counts",
                earlier.line
            ));
        }
        parsed.entries.push(Entry { name: name.to_owned(), value: value.to_owned(), line: number });
    }
    Ok(parsed)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_quoted(value: &str) -> bool {
    value.len() >= 2 && ['"', '\''].iter().any(|quote| value.starts_with(*quote) && value.ends_with(*quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stay_blanks_go_and_both_are_told() {
        let parsed = parse("# comment\n\nA=1\n B=\"x y\"\nC=3 \t\nA=2\n", "tango.env").unwrap();
        let values: Vec<_> = parsed.entries.iter().map(|entry| (entry.name.as_str(), entry.value.as_str())).collect();
        assert_eq!(values, [("B", "\"x y\""), ("C", "3"), ("A", "2")]);
        assert_eq!(parsed.warnings.len(), 3);
        assert!(parsed.warnings[0].contains("line 4") && parsed.warnings[0].contains("quotes"));
        assert!(parsed.warnings[1].contains("line 5") && parsed.warnings[1].contains("blanks"));
        assert!(parsed.warnings[2].contains("line 6") && parsed.warnings[2].contains("line 3"));
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let parsed = parse("\u{feff}URL=mongodb://u:p=w@h/?a=b#c\r\nEMPTY=\r\n", "f").unwrap();
        assert_eq!(parsed.entries[0].value, "mongodb://u:p=w@h/?a=b#c");
        assert_eq!(parsed.entries[1].value, "");
        assert!(parsed.warnings.is_empty(), "line ends of another system are no blanks: {:?}", parsed.warnings);
    }

    #[test]
    fn what_is_no_setting_is_named_with_its_line() {
        assert!(parse("A=1\nnonsense\n", "f").unwrap_err().contains("line 2"));
        assert!(parse("A B=1\n", "f").unwrap_err().contains("\"A B\""));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parse(&text, "f");
        }
    }
}
