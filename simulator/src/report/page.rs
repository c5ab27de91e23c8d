//! The page: one file with its style, its script and its data inside.

use std::fmt::Write as _;

use super::model::Collector;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they stand in the page.
const SCRIPTS: [&str; 7] = [
    include_str!("page/data.js"),
    include_str!("page/words.js"),
    include_str!("page/view.js"),
    include_str!("page/draw.js"),
    include_str!("page/panel.js"),
    include_str!("page/summary.js"),
    include_str!("page/main.js"),
];

/// The whole page.
///
/// # Errors
/// When the data cannot be written as JSON.
pub fn html(report: &mut Collector) -> Result<String, serde_json::Error> {
    let data = embed(&serde_json::to_string(&report.data())?);
    let mut page = String::with_capacity(data.len() + 100_000);
    let mut rest = TEMPLATE;
    for (mark, parts) in [("/*style*/", &[STYLE][..]), ("/*data*/", &[data.as_str()][..]), ("/*script*/", &SCRIPTS[..])]
    {
        let (before, after) = rest.split_once(mark).unwrap_or((rest, ""));
        page.push_str(before);
        for part in parts {
            page.push_str(part);
        }
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// JSON that no HTML parser can mistake for the end of its script, or for a comment in it.
fn embed(json: &str) -> String {
    let mut safe = String::with_capacity(json.len() + json.len() / 64);
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "\\u{:04x}", u32::from(c));
            }
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_end_the_script_it_stands_in() {
        let name = "</script><!--<script>alert(1)&amp;\u{2028}";
        let safe = embed(&serde_json::to_string(name).unwrap());
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), name);
    }

    #[test]
    fn the_page_is_whole_and_asks_for_nothing_from_outside() {
        let page = html(&mut Collector::default()).unwrap();
        assert!(page.trim_end().ends_with("</html>"));
        for mark in
            ["/*style*/", "/*script*/", "/*data*/", "src=", "@import", "url(", "fetch(", "import(", "href=\"http"]
        {
            assert!(!page.contains(mark), "{mark}");
        }
    }
}
