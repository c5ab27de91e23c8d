//! Replies of the query protocol: XML, read leaf by leaf.

use poolkeeper_core::aws::AwsError;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

use crate::aws::unparsed;

/// No reply is nested deeper.
const DEPTH_MAX: usize = 24;
const OK: u16 = 200;

/// AWS's own code and words of a refusal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: String,
    /// The words.
    pub message: String,
}

/// Reads a whole reply to `action`; `element` is told of each element as it closes, by its path and its own text.
///
/// # Errors
/// When it is no XML, is cut, is another reply, or `element` objects.
pub fn reply(
    body: &str,
    action: &str,
    mut element: impl FnMut(&[&str], &str) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    let mut is_reply = false;
    read(body, |path, text| {
        if let [root] = path {
            is_reply = root.strip_suffix("Response") == Some(action);
        }
        element(path, text)
    })?;
    if is_reply { Ok(()) } else { Err(unparsed(OK)) }
}

/// The same of a reply that lists something: it must hold a result.
///
/// # Errors
/// Like [`reply`], and when there is no result.
pub fn listing(
    body: &str,
    action: &str,
    mut element: impl FnMut(&[&str], &str) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    let mut has_result = false;
    reply(body, action, |path, text| {
        if let [_, result] = path {
            has_result |= result.strip_suffix("Result") == Some(action);
        }
        element(path, text)
    })?;
    if has_result { Ok(()) } else { Err(unparsed(OK)) }
}

fn read(body: &str, mut element: impl FnMut(&[&str], &str) -> Result<(), AwsError>) -> Result<(), AwsError> {
    let mut reader = Reader::from_str(body);
    let mut open: Vec<(String, String)> = Vec::new();
    let mut closed = 0_usize;
    loop {
        match reader.read_event().map_err(|_| unparsed(OK))? {
            Event::Start(start) => {
                if open.len() >= DEPTH_MAX {
                    return Err(unparsed(OK));
                }
                open.push((start.local_name().as_ref().to_owned(), String::new()));
            }
            Event::Empty(start) => {
                open.push((start.local_name().as_ref().to_owned(), String::new()));
                closed = close(&mut open, closed, &mut element)?;
            }
            Event::End(_) => closed = close(&mut open, closed, &mut element)?,
            Event::Text(text) => append(&mut open, &text.xml10_content()),
            Event::CData(text) => append(&mut open, &text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = character(&reference).ok_or_else(|| unparsed(OK))?;
                append(&mut open, character.encode_utf8(&mut [0; 4]));
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    if open.is_empty() && closed > 0 { Ok(()) } else { Err(unparsed(OK)) }
}

fn close(
    open: &mut Vec<(String, String)>,
    closed: usize,
    element: &mut impl FnMut(&[&str], &str) -> Result<(), AwsError>,
) -> Result<usize, AwsError> {
    let path: Vec<&str> = open.iter().map(|(name, _)| name.as_str()).collect();
    let text = open.last().map(|(_, text)| text.as_str()).unwrap_or_default();
    element(&path, text)?;
    open.pop();
    Ok(closed.saturating_add(1))
}

fn append(open: &mut [(String, String)], text: &str) {
    if let Some((_, own)) = open.last_mut() {
        own.push_str(text);
    }
}

fn character(reference: &BytesRef<'_>) -> Option<char> {
    if let Ok(Some(character)) = reference.resolve_char_ref() {
        return Some(character);
    }
    match reference.xml10_content().as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => None,
    }
}

/// The refusal in an error's body; empty when it holds none.
#[must_use]
pub fn refusal(body: &str) -> Refusal {
    let mut found = Refusal::default();
    let whole = read(body, |path, text| {
        match path {
            [.., "Error", "Code"] => text.trim().clone_into(&mut found.code),
            [.., "Error", "Message"] => text.trim().clone_into(&mut found.message),
            _ => {}
        }
        Ok(())
    });
    if whole.is_ok() { found } else { Refusal::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_part_of_their_text() {
        let body = "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>\
                    <Message>a &lt;b&gt; &#65;&amp;c</Message></Error><RequestId>x</RequestId></ErrorResponse>";

        let found = refusal(body);

        assert_eq!(found, Refusal { code: "ValidationError".into(), message: "a <b> A&c".into() });
    }

    #[test]
    fn only_the_reply_to_the_call_is_one() {
        let ignore = |_: &[&str], _: &str| Ok(());

        assert!(reply("<PutResponse><A/></PutResponse>", "Put", ignore).is_ok());
        assert!(reply("<html><body>Put</body></html>", "Put", ignore).is_err());
        assert!(reply("<GetResponse/>", "Put", ignore).is_err());
    }

    #[test]
    fn a_listing_without_a_result_is_none() {
        let ignore = |_: &[&str], _: &str| Ok(());

        assert!(listing("<GetResponse><GetResult/></GetResponse>", "Get", ignore).is_ok());
        assert!(listing("<GetResponse/>", "Get", ignore).is_err());
        assert!(listing("<GetResponse><A><GetResult/></A></GetResponse>", "Get", ignore).is_err());
    }

    #[test]
    fn blanks_are_part_of_their_text() {
        let mut texts = Vec::new();
        let keep = |path: &[&str], text: &str| {
            texts.extend((path.len() == 2).then(|| text.to_owned()));
            Ok(())
        };

        reply("<GetResponse><A> a b\n</A></GetResponse>", "Get", keep).unwrap();

        assert_eq!(texts, [" a b\n"]);
    }

    #[test]
    fn what_is_cut_or_no_xml_is_refused() {
        for body in ["", "gibberish", "<A><B>1</B>", "<A></B>", "{}"] {
            assert!(read(body, |_, _| Ok(())).is_err(), "{body}");
        }
        let deep = "<a>".repeat(DEPTH_MAX + 1) + &"</a>".repeat(DEPTH_MAX + 1);
        assert!(read(&deep, |_, _| Ok(())).is_err());
    }
}
