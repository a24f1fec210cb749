//! JSON with nothing lost, and reading it field by field without stopping at the first problem.
//!
//! `serde_json::Value` keeps only the last of two equal fields, and a derived `Deserialize` stops
//! at the first mistake. [`Json`] keeps all fields, and [`Fields`] notes each problem with its
//! path and goes on.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{Problem, SpecError};

/// A JSON value with every field it was written with.
pub(super) enum Json {
    Null,
    Bool,
    /// A number without sign, fraction or exponent.
    Whole(u64),
    Other(f64),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// The fields of one object, taken one after the other.
pub(super) struct Fields {
    /// Where the object is; empty for the outermost.
    path: String,
    fields: Vec<(String, Json)>,
}

/// The problems found so far.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<SpecError>);

impl Problems {
    pub(super) fn add(&mut self, path: impl Into<String>, problem: impl Into<Problem>) {
        self.0.push(SpecError::new(path, problem));
    }

    fn wrong_type(&mut self, path: impl Into<String>, expected: &'static str, found: &Json) {
        self.add(
            path,
            Problem::WrongType {
                expected,
                found: found.type_name(),
            },
        );
    }
}

impl Json {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Whole(_) | Self::Other(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// A text that is not empty.
    pub(super) fn into_text(self, path: &str, problems: &mut Problems) -> Option<String> {
        match self {
            Self::Text(text) if text.is_empty() => problems.add(path, Problem::Empty { hint: "" }),
            Self::Text(text) => return Some(text),
            other => problems.wrong_type(path, "a text", &other),
        }
        None
    }

    /// The fields of an object, those that are not known or given twice noted.
    pub(super) fn into_fields(
        self,
        path: &str,
        known: &'static [&'static str],
        problems: &mut Problems,
    ) -> Option<Fields> {
        let fields = self.into_any_fields(path, problems)?;
        for (name, _) in &fields.fields {
            if !known.contains(&name.as_str()) {
                problems.add(fields.path_of(name), Problem::UnknownField { known });
            }
        }
        Some(fields)
    }

    /// The fields of an object with whatever names, those given twice noted.
    pub(super) fn into_any_fields(self, path: &str, problems: &mut Problems) -> Option<Fields> {
        let Self::Object(given) = self else {
            problems.wrong_type(path, "an object", &self);
            return None;
        };
        let mut fields = Fields {
            path: path.to_owned(),
            fields: Vec::new(),
        };
        for (name, value) in given {
            if fields.fields.iter().any(|(other, _)| *other == name) {
                problems.add(fields.path_of(&name), Problem::RepeatedField);
            } else {
                fields.fields.push((name, value));
            }
        }
        Some(fields)
    }
}

impl Fields {
    /// Where a field of this object is.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Notes a field that should be there and is not.
    pub(super) fn require(&self, name: &str, expected: &'static str, problems: &mut Problems) {
        if !self.has(name) {
            problems.add(self.path_of(name), Problem::MissingField { expected });
        }
    }

    /// Whether the field is still there to be taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Json> {
        let index = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.swap_remove(index).1)
    }

    /// Everything that has not been taken.
    pub(super) fn take_all(&mut self) -> Vec<(String, Json)> {
        std::mem::take(&mut self.fields)
    }

    pub(super) fn text(&mut self, name: &str, problems: &mut Problems) -> Option<String> {
        let path = self.path_of(name);
        self.take(name)?.into_text(&path, problems)
    }

    pub(super) fn whole(
        &mut self,
        name: &str,
        range: RangeInclusive<u16>,
        problems: &mut Problems,
    ) -> Option<u16> {
        let path = self.path_of(name);
        let found = match self.take(name)? {
            Json::Whole(number) => match u16::try_from(number) {
                Ok(number) if range.contains(&number) => return Some(number),
                _ => number as f64,
            },
            Json::Other(number) if number.fract() == 0.0 => number,
            Json::Other(_) => {
                let found = "a fraction";
                problems.add(
                    path,
                    Problem::WrongType {
                        expected: "a whole number",
                        found,
                    },
                );
                return None;
            }
            other => {
                problems.wrong_type(path, "a whole number", &other);
                return None;
            }
        };
        let (min, max) = (u64::from(*range.start()), u64::from(*range.end()));
        problems.add(path, Problem::OutOfRange { found, min, max });
        None
    }

    pub(super) fn number(&mut self, name: &str, problems: &mut Problems) -> Option<f64> {
        let path = self.path_of(name);
        match self.take(name)? {
            Json::Whole(number) => Some(number as f64),
            Json::Other(number) => Some(number),
            other => {
                problems.wrong_type(path, "a number", &other);
                None
            }
        }
    }

    /// The elements of a list, each with its path.
    pub(super) fn list(
        &mut self,
        name: &str,
        problems: &mut Problems,
    ) -> Option<Vec<(String, Json)>> {
        let path = self.path_of(name);
        match self.take(name)? {
            Json::List(list) => {
                let numbered = list.into_iter().enumerate();
                Some(
                    numbered
                        .map(|(index, json)| (format!("{path}[{index}]"), json))
                        .collect(),
                )
            }
            other => {
                problems.wrong_type(path, "a list", &other);
                None
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(u64::try_from(number).map_or(Json::Other(number as f64), Json::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Other(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut all = Vec::new();
        while let Some(json) = list.next_element()? {
            all.push(json);
        }
        Ok(Json::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let mut all = Vec::new();
        while let Some(field) = object.next_entry()? {
            all.push(field);
        }
        Ok(Json::Object(all))
    }
}
