//! Counting records that are JSON text: their values go to the counters as they are read, without a tree between.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Bound, CardinalityState, FieldCounter};
use crate::domain::schema::FieldType;

impl CardinalityState {
    /// As [`Self::add_record`], of a JSON object as text.
    pub fn add_text(&mut self, values: &str, new_row: bool) -> serde_json::Result<()> {
        self.records += u64::from(new_row);
        for counter in self.fields.values_mut() {
            counter.rows += u64::from(new_row);
            // Taken back when a value is found.
            counter.nulls += u64::from(new_row);
        }
        let mut deserializer = serde_json::Deserializer::from_str(values);
        Record { state: self, new_row }.deserialize(&mut deserializer)?;
        deserializer.end()
    }
}

struct Record<'s> {
    state: &'s mut CardinalityState,
    new_row: bool,
}

impl<'de> DeserializeSeed<'de> for Record<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(position) = map.next_key_seed(Name(self.state))? {
            match position.and_then(|position| self.state.fields.get_index_mut(position)) {
                Some((_, counter)) => {
                    if map.next_value_seed(FieldValue(counter))? {
                        counter.nulls = counter.nulls.saturating_sub(u64::from(self.new_row));
                    }
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The position of a field's counter by its name.
struct Name<'s>(&'s CardinalityState);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.fields.get_index_of(name))
    }
}

/// Adds one value to its field's counter; false when it is null. A value of another type than the field's is not counted.
struct FieldValue<'c>(&'c mut FieldCounter);

impl<'de> DeserializeSeed<'de> for FieldValue<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldValue<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        if self.0.field_type == FieldType::Boolean {
            self.0.add(Bound::Boolean(value), 1);
        }
        Ok(true)
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        match self.0.field_type {
            FieldType::Integer => self.0.add(Bound::Integer(value), 1),
            FieldType::Float => self.0.add(Bound::Float(value as f64), 1),
            _ => {}
        }
        Ok(true)
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        match (self.0.field_type, i64::try_from(value)) {
            (FieldType::Integer, Ok(value)) => self.0.add(Bound::Integer(value), 1),
            (FieldType::Float, _) => self.0.add(Bound::Float(value as f64), 1),
            _ => {}
        }
        Ok(true)
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        if self.0.field_type == FieldType::Float {
            self.0.add(Bound::Float(value), 1);
        }
        Ok(true)
    }

    fn visit_str<E>(self, value: &str) -> Result<bool, E> {
        match self.0.field_type {
            FieldType::String => self.0.add_text(value, 1),
            FieldType::Timestamp => {
                if let Ok(time) = chrono::DateTime::parse_from_rfc3339(value) {
                    self.0.add(Bound::Time(time.timestamp_micros()), 1);
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let wanted = self.0.field_type == FieldType::List;
        while elements.next_element_seed(Element { counter: &mut *self.0, wanted })?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<bool, A::Error> {
        let wanted = self.0.field_type == FieldType::Dict;
        while let Some(DictKey(key)) = entries.next_key()? {
            let number = entries.next_value_seed(Number)?.filter(|_| wanted);
            if let Some(number) = number {
                self.0.add_entry(&key, number, 1);
            }
        }
        Ok(true)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct DictKey<'a>(#[serde(borrow)] Cow<'a, str>);

/// Adds a list's element when it is a text.
struct Element<'c> {
    counter: &'c mut FieldCounter,
    wanted: bool,
}

/// Visits of kinds of values that mean nothing here.
macro_rules! pass_over {
    ($value:expr; $($visit:ident: $of:ty),*) => {
        $(fn $visit<E>(self, _: $of) -> Result<Self::Value, E> {
            Ok($value)
        })*

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an element")
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        if self.wanted {
            self.counter.add_text(value, 1);
        }
        Ok(())
    }

    pass_over!((); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
}

/// A number, or a Boolean as one.
struct Number;

impl<'de> DeserializeSeed<'de> for Number {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<f64>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Number {
    type Value = Option<f64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, true or false")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Option<f64>, E> {
        Ok(Some(f64::from(u8::from(value))))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Option<f64>, E> {
        Ok(Some(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Option<f64>, E> {
        Ok(Some(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Option<f64>, E> {
        Ok(Some(value))
    }

    pass_over!(None; visit_str: &str);
}
