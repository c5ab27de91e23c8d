//! A writer of XML: elements and text, escaped.

/// XML as it grows.
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// An element that `inside` fills.
    pub(crate) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.root(name, None, inside);
    }

    /// An element with a namespace of its own.
    pub(crate) fn root(&mut self, name: &str, xmlns: Option<&str>, inside: impl FnOnce(&mut Self)) {
        self.0.push('<');
        self.0.push_str(name);
        if let Some(xmlns) = xmlns {
            self.0.push_str(" xmlns=\"");
            self.0.push_str(xmlns);
            self.0.push('"');
        }
        let opened = self.0.len();
        self.0.push('>');
        let start = self.0.len();
        inside(self);
        if self.0.len() == start {
            self.0.truncate(opened);
            self.0.push_str("/>");
        } else {
            self.0.push_str("</");
            self.0.push_str(name);
            self.0.push('>');
        }
    }

    /// An element that holds text.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.element(name, |xml| xml.escape(text));
    }

    /// A list: an element with one `member` for each item.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut inside: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for item in items {
                xml.element("member", |xml| inside(xml, item));
            }
        });
    }

    pub(crate) fn escape(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\r' => self.0.push_str("&#xD;"),
                '\t' | '\n' => self.0.push(c),
                '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => self.0.push('\u{fffd}'),
                _ => self.0.push(c),
            }
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}
