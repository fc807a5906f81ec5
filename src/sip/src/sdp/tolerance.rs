//! What is put right before a description is parsed.

/// Bytes that are not UTF-8 are replaced, NUL and line ends at either end cut off, several CR before an LF made one, runs
/// of spaces in m-lines too, and a switched-off m-line that names no format gets one: all are seen, and RFC 8866 §9
/// wants none.
pub(super) fn repair(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_matches(['\0', '\r', '\n', '\u{feff}']);
    let mut repaired = String::with_capacity(text.len() + 2);
    for line in text.split('\n') {
        let line = line.trim_end_matches('\r');
        if line.starts_with("m=") {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            repaired.push_str(&words.join(" "));
            if matches!(words.as_slice(), [_, "0", _]) {
                repaired.push_str(" 0");
            }
        } else if line.starts_with("v=") {
            repaired.push_str(line.trim_end());
        } else {
            repaired.push_str(line);
        }
        repaired.push_str("\r\n");
    }
    repaired
}
