//! What is put right before a description is parsed.

/// Bytes that are not UTF-8 are replaced, white space and NUL at the end cut off, runs of spaces in m-lines made one,
/// and a switched-off m-line that names no format gets one (both are seen; RFC 8866 §9 wants neither).
pub(super) fn repair(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut repaired = String::with_capacity(text.len());
    for line in
        text.trim_matches(|character: char| character == '\0' || character.is_whitespace()).split('\n')
    {
        let line = line.trim_end_matches([' ', '\t', '\r']);
        if line.starts_with("m=") {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            repaired.push_str(&words.join(" "));
            if matches!(words.as_slice(), [_, "0", _]) {
                repaired.push_str(" 0");
            }
        } else {
            repaired.push_str(line);
        }
        repaired.push_str("\r\n");
    }
    repaired
}
