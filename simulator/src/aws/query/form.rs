//! The parameters of a query request.

use std::collections::BTreeMap;

use poolkeeper_core::short_text::ShortText;

use crate::aws::ApiError;
use crate::http::HttpRequest;

/// The most members of a list that are read.
const MAX_MEMBERS: usize = 1000;

/// Parameters by name, for example `Filters.member.1.Values.member.2`.
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub(crate) fn parse(request: &HttpRequest) -> Result<Self, ApiError> {
        let text = match request.method.as_ref() {
            "POST" => request.body.as_slice(),
            "GET" => request.target.split_once('?').map_or("", |(_, query)| query).as_bytes(),
            _ => return Err(ApiError::new(400, "InvalidAction", "The method is not supported")),
        };
        let pairs = form_urlencoded::parse(text);
        Ok(Self(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect()))
    }

    /// The action, of the version this API has.
    pub(crate) fn action(&self) -> Result<String, ApiError> {
        let action = self
            .text("Action")
            .ok_or_else(|| ApiError::new(400, "MissingAction", "The request is missing an action parameter."))?;
        match self.text("Version") {
            Some(version) if version != super::VERSION => {
                let message = format!("Could not find operation {action} for version {version}");
                Err(ApiError::new(400, "InvalidAction", message))
            }
            Some(_) | None => Ok(action),
        }
    }

    /// A parameter that was given and is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.given(name).map(str::to_owned)
    }

    /// A name, a tag or an id, which must be given.
    pub(crate) fn name(&self, parameter: &str) -> Result<ShortText, ApiError> {
        self.given(parameter).map(ShortText::from).ok_or_else(|| missing(parameter))
    }

    pub(crate) fn required(&self, name: &str) -> Result<String, ApiError> {
        self.text(name).ok_or_else(|| missing(name))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| malformed(name, &text, "number"))
    }

    pub(crate) fn required_number(&self, name: &str) -> Result<u32, ApiError> {
        self.number(name)?.ok_or_else(|| missing(name))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(malformed(name, text, "boolean")),
        }
    }

    pub(crate) fn required_flag(&self, name: &str) -> Result<bool, ApiError> {
        self.flag(name)?.ok_or_else(|| missing(name))
    }

    /// The values of `NAME.member.1`, `NAME.member.2` and so on.
    pub(crate) fn list(&self, name: &str) -> Vec<ShortText> {
        let numbered = (1..=MAX_MEMBERS).map(|n| self.0.get(&format!("{name}.member.{n}")));
        numbered.map_while(|value| value.map(ShortText::from)).collect()
    }

    /// The prefixes `NAME.member.1`, `NAME.member.2` and so on, under which there are parameters.
    pub(crate) fn members(&self, name: &str) -> Vec<String> {
        let prefixes = (1..=MAX_MEMBERS).map(|n| format!("{name}.member.{n}"));
        prefixes.take_while(|prefix| self.has_under(&format!("{prefix}."))).collect()
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn has_under(&self, prefix: &str) -> bool {
        let mut from = self.0.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        from.next().is_some_and(|(key, _)| key.starts_with(prefix))
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::validation(format!(
        "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
        lower_first(name)
    ))
}

fn malformed(name: &str, text: &str, kind: &str) -> ApiError {
    let message = format!("Value '{text}' at '{}' is no {kind}", lower_first(name));
    ApiError::new(400, "MalformedInput", message)
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
